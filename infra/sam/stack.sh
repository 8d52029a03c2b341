#!/usr/bin/env bash
# Deploys a stack and works with it: `make deploy`, `invoke`, `logs`, `config`, `enable`, `disable`
# and `destroy` run this script.
#
# It needs the AWS CLI (1 or 2) with credentials and python3; deploy and destroy also need the SAM
# CLI. Settings come from the environment:
#   STACK      name of the stack (default: amp-forwarder)
#   CONFIG     configuration file (default: forwarder.yml)
#   YES=1      answers every question with yes, for scripts
#   FORWARDCTL the program that makes the estimate and checks a configuration before its upload
#              (default: the one on PATH)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stack=${STACK:-amp-forwarder}
config=${CONFIG:-forwarder.yml}
forwardctl=${FORWARDCTL:-$(command -v forwardctl || true)}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s\n' "$*" >&2; }

# die PROBLEM [HINT…]: reports the problem, one hint on each line, and exits.
die() {
    say "error: $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 1
}

# The last line that a failed command wrote.
problem() { tail -n 1 "$scratch/problem"; }

need() {
    command -v "$1" >/dev/null || die "$1 is not on PATH" "$2"
}

need_sam() {
    need sam "install the SAM CLI: https://docs.aws.amazon.com/serverless-application-model/"
}

aws_ready() {
    need aws "install the AWS CLI: https://docs.aws.amazon.com/cli/"
    aws sts get-caller-identity --query Account --output text \
        >"$scratch/account" 2>"$scratch/problem" ||
        die "AWS does not know you" "$(problem)" \
            "log in (aws sso login, aws configure), and set AWS_PROFILE and AWS_REGION"
}

first_version() {
    [[ $(aws --version 2>&1) == aws-cli/1.* ]]
}

ask() {
    [ "${YES:-}" = 1 ] && return
    local answer
    [ -t 0 ] || die "this question needs an answer: $1" "run the command on a terminal, or with YES=1"
    read -r -p "$1 [y/N] " answer
    [ "$answer" = y ] || [ "$answer" = Y ]
}

# output NAME: prints an output of the stack, or nothing when the stack has no such output.
output() {
    if [ ! -e "$scratch/outputs" ]; then
        aws cloudformation describe-stacks --stack-name "$stack" --output text \
            --query 'Stacks[0].Outputs[].[OutputKey,OutputValue]' \
            >"$scratch/outputs" 2>"$scratch/problem" ||
            die "there is no stack $stack here" "$(problem)" \
                "check AWS_REGION; STACK=… selects another stack; make deploy creates it"
    fi
    awk -v key="$1" '$1 == key { print $2 }' "$scratch/outputs"
}

# call PAYLOAD: invokes the function and writes its answer to $scratch/answer. Fails when the
# function reports an error.
call() {
    local binary=()
    # Version 2 decodes payloads from base64 unless this flag is given; version 1 rejects the flag.
    first_version || binary=(--cli-binary-format raw-in-base64-out)
    # A tick may take longer than the CLI's default read time-out of 60 s. A retry would then start
    # a second tick.
    AWS_MAX_ATTEMPTS=1 aws lambda invoke --function-name "$(output FunctionName)" "${binary[@]}" \
        --cli-read-timeout 900 --payload "$1" --query FunctionError --output text \
        "$scratch/answer" >"$scratch/error" 2>"$scratch/problem" ||
        die "the function could not be invoked" "$(problem)"
    grep -qx None "$scratch/error"
}

# field PATH: prints one value of the last answer, or of the report of a failed tick.
field() {
    "$here/lambda_json.py" field "$scratch/answer" "$1"
}

show() {
    python3 -m json.tool "$scratch/answer" 2>/dev/null || cat "$scratch/answer"
}

# count_backlog: sets $backlog to the number of samples in the spool, over all remotes.
count_backlog() {
    call '{"action": "status"}' || {
        show
        die "the spool cannot be read" \
            "fix that first, or delete the stack yourself: aws cloudformation delete-stack"
    }
    backlog=$("$here/lambda_json.py" samples "$scratch/answer")
}

# schedule STATE: sets the schedule's state as a parameter of the stack, so that the next deployment
# does not revert it.
schedule() {
    aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query 'Stacks[0].Parameters[].[ParameterKey,ParameterValue]' >"$scratch/parameters"
    local old
    old=$(awk '$1 == "ScheduleState" { print $2 }' "$scratch/parameters")
    if [ "$old" = "$1" ]; then
        say "the schedule is $1"
        return
    fi
    local parameters=("ParameterKey=ScheduleState,ParameterValue=$1") key
    while read -r key; do
        [ "$key" = ScheduleState ] || parameters+=("ParameterKey=$key,UsePreviousValue=true")
    done < <(cut -f 1 "$scratch/parameters")
    aws cloudformation update-stack --stack-name "$stack" --use-previous-template \
        --parameters "${parameters[@]}" \
        --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND >/dev/null
    aws cloudformation wait stack-update-complete --stack-name "$stack"
    say "the schedule is $1"
}

check_config() {
    [ -r "$config" ] || die "there is no configuration at $config" \
        "write one (README, Configuration by example), or name another file with CONFIG=…"
    if [ -z "$forwardctl" ]; then
        say "forwardctl is not on PATH (cargo install --locked --path .):" \
            "the function will check $config after the upload"
        return
    fi
    # The stack sets these variables for the function: ${SPOOL_URL} and the like need a value here.
    env AMP_REGION=x AMP_WORKSPACE_ID=ws SPOOL_URL=s3://bucket/spool \
        AMP_REMOTE_WRITE_URL=https://amp.invalid/api/v1/remote_write \
        "$forwardctl" check --config "$config" || die "$config is not valid: nothing was uploaded"
}

upload() {
    local to
    to=$(output ConfigUrl)
    [ -n "$to" ] || return 0
    check_config
    aws s3 cp --only-show-errors "$config" "$to"
    say "uploaded $config to $to"
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
        die "the function reports an error" "fix what it reports; the schedule was not started"
    }
    show
    [ "$(field ok)" = true ] || die "the check found problems" \
        "fix what it reports, then run make deploy again; the schedule was not started"
}

estimate() {
    step "estimate"
    if [ -z "$forwardctl" ] || [ ! -r "$config" ]; then
        say "run forwardctl estimate on a machine that reaches the home"
        return
    fi
    local region=${AWS_REGION:-us-east-1} workspace
    workspace=$(output WorkspaceId)
    env AMP_REGION="$region" AMP_WORKSPACE_ID="$workspace" SPOOL_URL="$(output SpoolUrl)" \
        AMP_REMOTE_WRITE_URL="https://aps-workspaces.$region.amazonaws.com/workspaces/$workspace/api/v1/remote_write" \
        "$forwardctl" estimate --config "$config" --watch "${WATCH:-1m}" ||
        say "no estimate: this machine may not reach the home;" \
            "run forwardctl estimate on one that does"
}

deploy() {
    local settings=$here/samconfig.toml
    aws_ready
    need_sam
    [ -r "$settings" ] || die "there is no $settings" \
        "cp $settings.example $settings, and fill in the values that it lists"
    step "deploy $stack to account $(cat "$scratch/account")"
    # Every deployment starts with the schedule off, until the stack has shown that it works.
    grep -q 'ScheduleState=DISABLED' "$settings" || die "no ScheduleState=DISABLED in $settings" \
        "the schedule must be off until check and dry run succeed:" \
        "add it to parameter_overrides, as in samconfig.toml.example"
    sam deploy --template-file "$here/template.yaml" --config-file "$settings" \
        --stack-name "$stack" --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
        --resolve-s3 --no-fail-on-empty-changeset
    upload
    check
    step "dry run: one scrape, nothing is sent"
    call '{"action": "forward", "dry_run": true}' || {
        show
        die "the scrape failed" "the schedule was not started"
    }
    say "$(field ledger.scraped) samples a scrape, of which $(field ledger.owed_after) would be sent"
    estimate
    if ask "start the schedule, one tick a minute?"; then
        schedule ENABLED
    else
        say "the schedule was not started; make enable starts it"
    fi
}

invoke() {
    aws_ready
    local event
    event=$("$here/lambda_json.py" event "${ACTION:-forward}" "${JOBS:-}" "${DRY_RUN:-}")
    if call "$event"; then show; else show; exit 1; fi
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
    [ -n "$(output ConfigUrl)" ] || die "this stack does not keep its configuration in the bucket" \
        "with Config=package, make build deploy puts the new one into the zip"
    upload
    restart
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
    step "stop the schedule"
    schedule DISABLED
    drain_backlog
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
deploy | invoke | logs | config | destroy) "$1" ;;
enable) aws_ready && schedule ENABLED ;;
disable) aws_ready && schedule DISABLED ;;
*) die "usage: stack.sh deploy|invoke|logs|config|enable|disable|destroy" ;;
esac
