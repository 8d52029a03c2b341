#!/usr/bin/env bash
# Adds a site to a stack that serves many homes, lists the sites, and removes one: `make site-add`,
# `site-list` and `site-remove` run this script.
#
# It needs the AWS CLI with credentials and python3. Region, profile and name of the shared stack are
# those of samconfig.toml. Settings come from the environment:
#   SITE       name of the site: 1 to 63 lower-case letters, digits and dashes
#   CONFIG     its configuration (default: sites/SITE.yml, else forwarder.yml)
#   HOME_CIDR  address of its home, such as 192.0.2.10/32, for the shared stack's prefix list
#   WRITE_WORKSPACE_ARN  the only workspace that the site may write to, with SiteRoles
#   STACK, YES, FORWARDCTL  as for stack.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
settings=$here/samconfig.toml
forwardctl=${FORWARDCTL:-$(command -v forwardctl || true)}
# shellcheck source=infra/sam/common.sh
. "$here/common.sh"

site=${SITE:-}

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
        "RolePath=/amp-forwarder/$stack/" "ScheduleState=$1" "Start=$("$here/lambda_json.py" start "$site")"
    )
    [ -z "${WRITE_WORKSPACE_ARN:-}" ] || parameters+=("WriteWorkspaceArn=$WRITE_WORKSPACE_ARN")
    aws cloudformation deploy --template-file "$here/site.yaml" --stack-name "$stack-site-$site" \
        --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset \
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

# event ACTION: prints an event for the site.
event() { printf '{"site": "%s", "action": "%s"}' "$site" "$1"; }

add() {
    need_site
    shared_ready
    site_config
    local state role
    state=$(schedule_state)
    step "the site $site of $stack"
    deploy_site "${state:-DISABLED}"
    homes add "${HOME_CIDR:-}"
    role=$(aws cloudformation describe-stacks --stack-name "$stack-site-$site" --output text \
        --query "Stacks[0].Outputs[?OutputKey=='WriteRoleArn'].OutputValue")
    [ -z "$role" ] || [ "$role" = None ] || say "its sigv4.role_arn is $role"
    aws s3 cp --only-show-errors "$config" "$sites/$site/forwarder.yml"
    say "uploaded $config to $sites/$site/forwarder.yml"
    step "check: the configuration, the home, AMP and the spool, from inside the VPC"
    call "$(event check)" || {
        show
        die "the function reports an error" "fix what it reports, and run make site-add again"
    }
    show
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
        --query 'Schedules[].[Name,State]'
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
