#!/usr/bin/env bash
# Deploys a stack and works with it: `make deploy`, `invoke`, `logs`, `config`, `env`, `enable`,
# `disable` and `destroy` run this script.
#
# It needs the AWS CLI (1 or 2) with credentials and python3; deploy and destroy also need the SAM
# CLI. Region, profile and name of the stack are those of samconfig.toml. Settings come from the
# environment:
#   STACK      name of the stack (default: that of samconfig.toml, else amp-forwarder)
#   CONFIG     configuration file (default: forwarder.yml)
#   YES=1      answers every question with yes, for scripts
#   ZIP        a released zip to deploy, with its checksum in SHA256 or in a file beside it
#   FORWARDCTL the program that makes the estimate and checks a configuration before its upload
#              (default: the one on PATH)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
settings=$here/samconfig.toml
config=${CONFIG:-forwarder.yml}
forwardctl=${FORWARDCTL:-$(command -v forwardctl || true)}
# shellcheck source=infra/sam/common.sh
. "$here/common.sh"
# shellcheck source=infra/sam/zip.sh
. "$here/zip.sh"

# count_backlog: sets $backlog to the number of samples in the spool, over all remotes.
count_backlog() {
    call '{"action": "status"}' || {
        show
        die "the spool cannot be read" \
            "fix that first, or delete the stack yourself: aws cloudformation delete-stack"
    }
    backlog=$("$here/lambda_json.py" samples "$scratch/answer")
}

# The variables that the stack passes on to the configuration: those of samconfig.toml, which the next deployment
# sets, or else those that the stack has.
environment() {
    local found
    found=$(override Environment)
    [ -n "$found" ] || found=$(parameter Environment 2>/dev/null || true)
    printf '%s' "$found"
}

check_config() {
    [ -r "$config" ] || die "there is no configuration at $config" \
        "make discover TARGET=… writes one; CONFIG=… names another file"
    if [ -z "$forwardctl" ]; then
        say "forwardctl is not on PATH (cargo install --locked --path .):" \
            "the function will check $config after the upload"
        return
    fi
    FORWARDER_ENVIRONMENT=$(environment) "$forwardctl" check --stack --config "$config" ||
        die "$config is not valid: nothing was changed in AWS" "fix what it reports"
}

# upload: uploads the configuration where the function reads it from the stack's bucket.
upload() {
    local to
    to=$(output ConfigUrl)
    [ -n "$to" ] || return 0
    aws s3 cp --only-show-errors "$config" "$to"
    say "uploaded $config to $to"
    restart
}

# A process reads its configuration once. Lambda replaces the processes when a setting of the
# function changes, so a checksum in the description restarts them.
restart() {
    local version about
    version=$(cksum <"$config" | cut -d ' ' -f 1)
    about="Pulls the home Prometheus and writes to Amazon Managed Service for Prometheus"
    aws lambda update-function-configuration --function-name "$(output FunctionName)" \
        --description "$about (configuration $version)" >/dev/null
    aws lambda wait function-updated --function-name "$(output FunctionName)"
}

check() {
    step "check: the configuration, the home, AMP and the spool, from inside the VPC"
    call '{"action": "check"}' || {
        show
        die "the function reports an error" "fix what it reports; $(unchanged)"
    }
    findings >&2
    [ "$(field ok)" = true ] || die "the check found problems" \
        "fix what it reports, then run make deploy again; $(unchanged)"
}

# serves_sites: whether the stack serves many homes. Each has its own configuration, check and first tick: site.sh.
serves_sites() { [ -n "$(output SitesUrl)" ]; }

unchanged() { printf 'the schedule is still %s' "$(parameter ScheduleState)"; }

# The alarm of missing ticks looks back for five minutes: without this tick it would fire before the
# schedule's first one. The tick also shows that AMP takes the samples.
first_tick() {
    step "the first tick, by hand"
    call '{"action": "forward"}' || {
        show
        return 1
    }
    say "outcome $(field outcome): $(field ledger.written) samples are in AMP," \
        "$(field ledger.owed_after) wait in the spool"
}

# Says whether anybody would get an alarm.
tell_listeners() {
    local topic pending
    topic=$(output AlarmTopicArn)
    if [ -z "$topic" ]; then
        say "note: alarms reach nobody: set AlarmEmail or AlarmTopicArn"
        return
    fi
    pending=$(aws sns list-subscriptions-by-topic --topic-arn "$topic" --output text \
        --query "Subscriptions[?SubscriptionArn=='PendingConfirmation'].Endpoint" 2>/dev/null) || return 0
    [ -z "$pending" ] || [ "$pending" = None ] ||
        say "note: alarms do not reach $pending until the link in AWS's mail is opened"
}

estimate() {
    step "estimate"
    if [ -z "$forwardctl" ] || [ ! -r "$config" ]; then
        say "run forwardctl estimate on a machine that reaches the home"
        return
    fi
    local workspace
    workspace=$(output WorkspaceId)
    env AMP_REGION="$AWS_REGION" AMP_WORKSPACE_ID="$workspace" SPOOL_URL="$(output SpoolUrl)" \
        FORWARDER_ENVIRONMENT="$(environment)" \
        AMP_REMOTE_WRITE_URL="https://aps-workspaces.$AWS_REGION.amazonaws.com/workspaces/$workspace/api/v1/remote_write" \
        "$forwardctl" estimate --config "$config" --watch "${WATCH:-1m}" ||
        say "no estimate: this machine may not reach the home;" \
            "run forwardctl estimate on one that does"
}

# ready: whatever can be wrong before anything is built or deployed.
ready() {
    aws_ready
    need_sam
    [ -r "$settings" ] || die "there is no $settings" \
        "make discover writes it; or cp $settings.example $settings, and fill in the values that it lists"
    # A new stack has its schedule off until it has shown that it works; an update keeps what it has.
    [ -z "$(override ScheduleState)" ] || die "ScheduleState is set in $settings" \
        "take it out: every deployment would set it again, and stop or start the schedule"
    [ "$(override Config)" != bucket ] || check_config
}

# A stack whose first creation failed takes no update. It holds nothing.
remove_failed_stack() {
    local status
    status=$(aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query 'Stacks[0].StackStatus' 2>/dev/null || true)
    case $status in ROLLBACK_COMPLETE | ROLLBACK_FAILED) ;; *) return 0 ;; esac
    step "the first creation of $stack failed:"
    aws cloudformation describe-stack-events --stack-name "$stack" --output text \
        --query "StackEvents[?ResourceStatus=='CREATE_FAILED'].[LogicalResourceId,ResourceStatusReason]" >&2
    ask "delete what is left of it, and create it again?" || die "nothing was changed"
    aws cloudformation delete-stack --stack-name "$stack"
    aws cloudformation wait stack-delete-complete --stack-name "$stack"
}

deploy() {
    ready
    local template=$here/template.yaml confirm=
    if [ -n "${ZIP:-}" ]; then
        released_template
        template=$scratch/template.yaml
    fi
    [ "${YES:-}" != 1 ] || confirm=--no-confirm-changeset
    remove_failed_stack
    step "deploy $stack to account $(cat "$scratch/account"), $AWS_REGION"
    sam deploy --template-file "$template" --config-file "$settings" \
        --stack-name "$stack" --region "$AWS_REGION" --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
        --resolve-s3 --no-fail-on-empty-changeset ${confirm:+"$confirm"} ||
        die "sam deploy failed: the first failed resource above says why" \
            "fix that, and run make deploy again; a stack that could not be created is removed then"
    if serves_sites; then
        tell_listeners
        say "the stack serves many homes: make site-add SITE=… adds one; make enable switches on the alarm of missing ticks"
        return
    fi
    upload
    check
    step "dry run: one scrape, nothing is sent"
    call '{"action": "forward", "dry_run": true}' || {
        show
        die "the scrape failed" "$(unchanged)"
    }
    say "$(field ledger.scraped) samples a scrape, of which $(field ledger.owed_after) would be sent"
    estimate
    tell_listeners
    if [ "$(parameter ScheduleState)" = ENABLED ]; then
        say "the schedule is ENABLED, as it was"
    elif ask "start the schedule, one tick a minute?"; then
        first_tick || die "the first tick failed" "$(unchanged)"
        schedule ENABLED
        printf '%s\n' "" "what is next:" \
            "  make logs FOLLOW=1           shows each tick" \
            "  make invoke ACTION=status    shows how far it is, and what waits" \
            "  the dashboard $(output DashboardName) in CloudWatch shows the rest" >&2
    else
        say "the schedule was not started; make enable starts it"
    fi
}

enable() {
    aws_ready
    if serves_sites; then
        schedule ENABLED
        say "that is for the alarm of missing ticks; the schedules of the sites are those of make site-add"
        return
    fi
    if [ "$(parameter ScheduleState)" != ENABLED ]; then
        first_tick || ask "the tick failed; start the schedule anyway?" || die "$(unchanged)"
    fi
    schedule ENABLED
}

disable() {
    aws_ready
    schedule DISABLED
}

invoke() {
    aws_ready
    local event site=
    ! serves_sites || site=${SITE:-}
    event=$("$here/lambda_json.py" event "${ACTION:-forward}" "${JOBS:-}" "${DRY_RUN:-}" "$site")
    if call "$event"; then findings; else show; exit 1; fi
}

# The function's variables for a shell here, so that forwardctl reads the same configuration and the same spool.
variables() {
    aws_ready
    aws lambda get-function-configuration --function-name "$(output FunctionName)" --output json \
        --query Environment.Variables >"$scratch/answer" 2>"$scratch/problem" ||
        die "the function's variables cannot be read" "$(problem)" "your role needs lambda:GetFunctionConfiguration"
    "$here/lambda_json.py" exports "$scratch/answer"
}

# The AWS CLI 1 has no `logs tail`.
logs_of_first_version() {
    local since=${SINCE:-10m} seconds=60
    [[ $since =~ ^[0-9]+[mh]$ ]] || die "SINCE=$since is not a time span" "write 10m or 2h"
    [[ $since == *h ]] && seconds=3600
    since=$(($(date +%s) - ${since%?} * seconds))
    aws logs filter-log-events --log-group-name "$(output LogGroupName)" \
        --start-time "${since}000" --query 'events[].[message]' --output text
}

logs() {
    aws_ready
    if first_version; then
        logs_of_first_version
        return
    fi
    aws logs tail "$(output LogGroupName)" --since "${SINCE:-10m}" --format short ${FOLLOW:+--follow}
}

config() {
    aws_ready
    [ -n "$(output ConfigUrl)" ] || die "this stack does not keep its configuration in the spool's bucket" \
        "with Config=package, make deploy puts the new one into the zip; with CDK, cdk deploy uploads it"
    check_config
    upload
    check
}

# Offers to send the backlog, until the spool is empty or a drain sends nothing more.
drain_backlog() {
    local backlog before=
    step "the backlog"
    while count_backlog && [ "$backlog" != 0 ]; do
        say "$backlog samples are in the spool"
        if [ "$backlog" != "$before" ] && ask "send them now?"; then
            before=$backlog
            call '{"action": "drain"}' || show
            continue
        fi
        [ "$backlog" != "$before" ] || say "the last drain sent nothing: see its answer above"
        say "the bucket is kept: forwardctl spool export reads the samples from" \
            "$(output SpoolUrl) at any time"
        if [ "${YES:-}" = 1 ] || ! ask "delete the stack anyway?"; then
            die "nothing was deleted; the schedule is stopped" "make enable starts it again"
        fi
        break
    done
}

destroy() {
    aws_ready
    need_sam
    if serves_sites; then
        local left
        left=$(aws scheduler list-schedules --group-name "$(output ScheduleGroupName)" --output text \
            --query 'Schedules[].[Name]' | sites_only)
        [ -z "$left" ] || die "the stack still serves ${left//$'\n'/ }" "make site-remove SITE=… removes a site"
    else
        step "stop the schedule"
        schedule DISABLED
        drain_backlog
    fi
    step "delete $stack"
    local bucket
    bucket=$(output SpoolBucketName)
    ask "delete the stack $stack?" ||
        die "nothing was deleted; the schedule is stopped" "make enable starts it again"
    aws cloudformation delete-stack --stack-name "$stack"
    aws cloudformation wait stack-delete-complete --stack-name "$stack"
    say "deleted; the bucket $bucket is kept: aws s3 rb --force s3://$bucket removes it," \
        "with the rejected and expired samples in it"
}

case ${1:-} in
ready | deploy | invoke | logs | config | enable | disable | destroy) "$1" ;;
env) variables ;;
*) die "usage: stack.sh ready|deploy|invoke|logs|config|env|enable|disable|destroy" ;;
esac
