#!/usr/bin/env bash
# Adds a site to a stack that serves many homes, lists the sites, and removes one: `make site-add`,
# `site-list` and `site-remove` run this script.
#
# It needs the AWS CLI with credentials and python3. Region, profile and name of the shared stack are
# those of samconfig.toml. Settings come from the environment:
#   SITE       name of the site: 1 to 63 lower-case letters, digits and dashes
#   CONFIG     its configuration (default: sites/SITE.yml, else forwarder.yml)
#   HOME_CIDR  address of its home, such as 192.0.2.10/32, for the shared stack's prefix list
#   WRITE_WORKSPACE_ARN  the only workspace that the site may write to, with SiteRoles (default: the stack's)
#   MAX_SERIES  the most active series that the site may have in the stack's workspace: AMP refuses further ones
#   SITE_LABEL  the external label by which AMP knows the site (default: site)
#   STACK, YES, FORWARDCTL  as for stack.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
settings=$here/samconfig.toml
forwardctl=${FORWARDCTL:-$(command -v forwardctl || true)}
# shellcheck source=infra/sam/common.sh
. "$here/common.sh"

site=${SITE:-}

need_limit() {
    [[ ${MAX_SERIES:-1} =~ ^[0-9]+$ ]] || die "MAX_SERIES=$MAX_SERIES is no number of series" "write 50000, for example"
}

need_site() {
    [[ $site =~ ^[a-z0-9-]{1,63}$ ]] || die "SITE=$site is no name of a site" \
        "write 1 to 63 lower-case letters, digits and dashes"
}

shared_ready() {
    aws_ready
    sites=$(output SitesUrl)
    [ -n "$sites" ] || die "the stack $stack serves one home" \
        "deploy it with Sites=true; infra/README.md says how to move"
}

site_config() {
    config=${CONFIG:-}
    [ -n "$config" ] || { [ -r "sites/$site.yml" ] && config=sites/$site.yml; } || config=forwarder.yml
    [ -r "$config" ] || die "there is no configuration at $config" \
        "write sites/$site.yml, or name another file with CONFIG"
    if [ -z "$forwardctl" ]; then
        say "forwardctl is not on PATH: the function will check $config after the upload"
        return
    fi
    "$forwardctl" check --stack --site "$site" --config "$config" ||
        die "$config is not valid: nothing was changed in AWS" "fix what it reports"
}

# schedule_state: prints the state of the site's schedule, or nothing when there is none.
schedule_state() {
    aws scheduler get-schedule --group-name "$(output ScheduleGroupName)" --name "$site" \
        --query State --output text 2>/dev/null || true
}

# deploy_site STATE: makes the site's stack, or changes it. A schedule keeps its second, which comes
# from the name; its start must lie ahead.
deploy_site() {
    local parameters=(
        "Site=$site" "FunctionArn=$(output FunctionArn)" "FunctionRoleArn=$(output FunctionRoleArn)"
        "ScheduleGroupName=$(output ScheduleGroupName)" "ScheduleRoleArn=$(output ScheduleRoleArn)"
        "SharedStack=$stack" "SpoolBucketArn=$(output SpoolBucketArn)" "ScheduleState=$1"
        "Start=$("$here/lambda_json.py" start "$site")"
        "VerifySchedule=$(output SiteVerifySchedule)"
    )
    if [ -n "$(output SiteRoleArn)" ]; then
        parameters+=(
            "WriteWorkspaceArn=${WRITE_WORKSPACE_ARN:-$(output WorkspaceArn)}"
            "KmsKeyArn=$(output SiteKeyArn)"
        )
    fi
    aws cloudformation deploy --template-file "$here/site.yaml" --stack-name "$stack-site-$site" \
        --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset \
        --parameter-overrides "${parameters[@]}" >&2 ||
        die "the stack $stack-site-$site could not be deployed" "the failed resource above says why"
}

# homes add|remove CIDR: changes an entry of the prefix list with the homes' addresses.
homes() {
    local list version entry
    list=$(output HomesPrefixListId)
    [ -n "$list" ] && [ -n "${2:-}" ] || return 0
    entry=$(aws ec2 get-managed-prefix-list-entries --prefix-list-id "$list" --output text \
        --query "Entries[?Cidr=='$2'].Cidr")
    if [ "$1" = add ]; then [ -z "$entry" ] || return 0; else [ -n "$entry" ] || return 0; fi
    version=$(aws ec2 describe-managed-prefix-lists --prefix-list-ids "$list" --output text \
        --query 'PrefixLists[0].Version')
    if [ "$1" = add ]; then
        aws ec2 modify-managed-prefix-list --prefix-list-id "$list" --current-version "$version" \
            --add-entries "Cidr=$2,Description=$site" >/dev/null
    else
        aws ec2 modify-managed-prefix-list --prefix-list-id "$list" --current-version "$version" \
            --remove-entries "Cidr=$2" >/dev/null
    fi
}

# limit: caps the site's active series in the workspace. AMP takes the whole list at once, so the others' limits are
# read first.
limit() {
    [ -n "${MAX_SERIES:-}" ] || return 0
    local workspace
    workspace=$(output WorkspaceId)
    aws amp describe-workspace-configuration --workspace-id "$workspace" --output json >"$scratch/limits" 2>"$scratch/problem" ||
        die "the limits of $workspace cannot be read" "$(problem)" "your role needs aps:DescribeWorkspaceConfiguration"
    "$here/lambda_json.py" limits "$scratch/limits" "${SITE_LABEL:-site}" "$site" "$MAX_SERIES" >"$scratch/changed"
    aws amp update-workspace-configuration --workspace-id "$workspace" --limits-per-label-set "file://$scratch/changed" \
        >/dev/null 2>"$scratch/problem" ||
        die "the limit of $site cannot be set" "$(problem)" "your role needs aps:UpdateWorkspaceConfiguration"
    say "AMP takes at most $MAX_SERIES active series with ${SITE_LABEL:-site}=\"$site\""
}

# checked: asks the function to check the site. A new role is not known everywhere at once (IAM user guide,
# "Changes that I make are not always immediately visible").
checked() {
    local tries=6
    until call "$(event check)"; do
        tries=$((tries - 1))
        grep -q "cannot assume the role" "$scratch/answer" && [ "$tries" -gt 0 ] || return 1
        say "the role of $site is not known everywhere yet"
        sleep 5
    done
}

# event ACTION: prints an event for the site.
event() { printf '{"site": "%s", "action": "%s"}' "$site" "$1"; }

add() {
    need_site
    need_limit
    shared_ready
    site_config
    local state
    state=$(schedule_state)
    step "the site $site of $stack"
    deploy_site "${state:-DISABLED}"
    homes add "${HOME_CIDR:-}"
    limit
    aws s3 cp --only-show-errors "$config" "$sites/$site/forwarder.yml"
    say "uploaded $config to $sites/$site/forwarder.yml"
    step "check: the configuration, the home, AMP and the spool, from inside the VPC"
    checked || {
        show
        die "the function reports an error" "fix what it reports, and run make site-add again"
    }
    findings >&2
    [ "$(field ok)" = true ] || die "the check found problems" \
        "fix what it reports, and run make site-add again; the schedule is ${state:-DISABLED}"
    if [ "$state" = ENABLED ]; then
        say "the schedule is ENABLED, as it was; the site reads its configuration within five minutes"
    elif ask "start the schedule, one tick a minute?"; then
        call "$(event forward)" || {
            show
            die "the first tick failed" "the schedule is still DISABLED"
        }
        deploy_site ENABLED
        say "the schedule is ENABLED"
    fi
}

list() {
    shared_ready
    aws scheduler list-schedules --group-name "$(output ScheduleGroupName)" --output text \
        --query 'Schedules[].[Name,State]' | sites_only
}

remove() {
    need_site
    shared_ready
    local backlog before=
    step "stop the schedule of $site"
    [ -z "$(schedule_state)" ] || deploy_site DISABLED
    while call "$(event status)" && backlog=$("$here/lambda_json.py" samples "$scratch/answer") &&
        [ "$backlog" != 0 ]; do
        say "$backlog samples are in the spool of $site"
        if [ "$backlog" != "$before" ] && ask "send them now?"; then
            before=$backlog
            call "$(event drain)" || show
            continue
        fi
        if [ "${YES:-}" = 1 ] || ! ask "remove the site anyway?"; then
            die "nothing was deleted; the schedule is stopped" "make site-add starts it again"
        fi
        break
    done
    ask "delete the site $site?" ||
        die "nothing was deleted; the schedule is stopped" "make site-add starts it again"
    homes remove "${HOME_CIDR:-}"
    aws cloudformation delete-stack --stack-name "$stack-site-$site"
    aws cloudformation wait stack-delete-complete --stack-name "$stack-site-$site"
    say "deleted; its configuration and spool are kept: aws s3 rm --recursive $sites/$site/ removes them"
}

case ${1:-} in
add | list | remove) "$1" ;;
*) die "usage: site.sh add|list|remove" ;;
esac
