import * as iam from 'aws-cdk-lib/aws-iam';
import type * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { Construct } from 'constructs';

import { SITE_ROLE_PATH } from './permissions';
import { schedule, type Scheduling } from './schedule';
import { SITES_PREFIX } from './spool';

/** What all homes of a function that serves many have in common. */
export interface SitesProps {
  /**
   * Whether each site writes under a role of its own: `sigv4.role_arn` in its configuration. The function itself may then write to no workspace.
   *
   * @default false
   */
  readonly roles?: boolean;
  /**
   * The most addresses in the prefix list of the homes, when there is no `home.cidr`. All of them count as rules of the security group, used or
   * not (60 by default).
   *
   * @default 40
   */
  readonly homeEntries?: number;
  /**
   * Number of failing sites from which there is an alarm.
   *
   * @default 1
   */
  readonly failing?: number;
}

/** One of many homes. */
export interface SiteProps {
  /**
   * Address of its home, for the prefix list.
   *
   * @default - it is in `home.cidr` of the forwarder
   */
  readonly home?: string;
  /**
   * Whether its schedule starts the function each minute. Leave it off until `{"site":"NAME","action":"check"}` is content.
   *
   * @default false
   */
  readonly enabled?: boolean;
  /**
   * A moment to come, from which on the site has its ticks, at its own second of each minute (see {@link Site.secondOf}). EventBridge Scheduler takes
   * none that is over, so it has to be moved with each change of the site.
   *
   * @default - from when the schedule is made, at the second that this was
   */
  readonly start?: Date;
  /**
   * With {@link SitesProps.roles}, the only workspace that the site may write to.
   *
   * @default - no role
   */
  readonly writeWorkspaceArn?: string;
}

/** What a site needs of the forwarder. */
export interface SiteParts {
  /** The forwarder's function. */
  readonly function: lambda.IFunction;
  /** Its role, which a role of the site's own admits. */
  readonly role: iam.IRole;
  /** Where the site's schedule belongs. */
  readonly scheduling: Scheduling;
}

/** A site: its schedule, and its role if it has one. Its configuration is uploaded to {@link Site.configurationKey}. The same as `site.yaml`. */
export class Site extends Construct {
  /** The second of each minute at which a site has its tick, from its name: infra/sam/lambda_json.py has the same. */
  static secondOf(name: string): number {
    // FNV-1a, whose high bits vary more than the low ones.
    let hashed = 2166136261;
    for (const byte of Buffer.from(name)) hashed = Math.imul(hashed ^ byte, 16777619) >>> 0;
    return ((hashed ^ (hashed >>> 16)) >>> 0) % 60;
  }

  /** What starts the function for this site each minute. */
  readonly schedule: scheduler.CfnSchedule;
  /** The role that it writes under: its `sigv4.role_arn`. */
  readonly writeRole: iam.Role | undefined;

  /** Where its configuration is in the spool's bucket. */
  readonly configurationKey: string;

  /** Made by {@link AmpForwarder.addSite}. */
  constructor(scope: Construct, name: string, parts: SiteParts, props: SiteProps) {
    super(scope, `Site-${name}`);
    if (!/^[a-z0-9-]{1,63}$/.test(name)) throw new Error(`site ${JSON.stringify(name)}: write 1 to 63 lower-case letters, digits and dashes`);
    this.configurationKey = `${SITES_PREFIX}/${name}/forwarder.yml`;
    const start = props.start === undefined ? undefined : new Date(props.start);
    start?.setUTCSeconds(Site.secondOf(name), 0);
    this.schedule = schedule(this, parts.scheduling, parts.function, {
      name,
      startDate: start?.toISOString().replace('.000Z', 'Z'),
      state: props.enabled === true ? 'ENABLED' : 'DISABLED',
      input: JSON.stringify({ site: name }),
    });
    if (props.writeWorkspaceArn !== undefined) {
      this.writeRole = new iam.Role(this, 'WriteRole', {
        description: 'Writes the samples of a site of amp-forwarder',
        path: `/${SITE_ROLE_PATH}`,
        assumedBy: new iam.ArnPrincipal(parts.role.roleArn),
      });
      new iam.Policy(this, 'WritePolicy', {
        policyName: 'write',
        roles: [this.writeRole],
        statements: [new iam.PolicyStatement({ sid: 'Write', actions: ['aps:RemoteWrite'], resources: [props.writeWorkspaceArn] })],
      });
    }
  }
}
