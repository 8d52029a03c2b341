#!/usr/bin/env bash
# Works on a deployed stack: what `make deploy`, `invoke`, `logs`, `config`, `enable`, `disable` and `destroy` run.
#
# Needs the AWS CLI (1 or 2) with credentials, for deploy and destroy the SAM CLI as well. Settings come from the environment:
#   STACK      the stack's name (amp-forwarder)
#   CONFIG     the configuration (forwarder.yml)
#   YES=1      answers every question with yes: for scripts
#   FORWARDCTL the program, for the estimate and the check before an upload (the one on PATH)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
stack=${STACK:-amp-forwarder}
config=${CONFIG:-forwarder.yml}
forwardctl=${FORWARDCTL:-$(command -v forwardctl || true)}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s\n' "$*" >&2; }
die() {
    say "error: $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 1
}

need() {
    command -v "$1" >/dev/null || die "$1 is not on PATH" "$2"
}

aws_ready() {
    need aws "install the AWS CLI: https://docs.aws.amazon.com/cli/"
    aws sts get-caller-identity --query Account --output text >"$scratch/account" 2>"$scratch/problem" ||
        die "AWS does not know you" "$(tail -n 1 "$scratch/problem")" "log in (aws sso login, aws configure), and set AWS_PROFILE and AWS_REGION"
}

first_version() {
    [[ $(aws --version 2>&1) == aws-cli/1.* ]]
}

ask() {
    [ "${YES:-}" = 1 ] && return
    local answer
    [ -t 0 ] || die "a question needs an answer: $1" "run it on a terminal, or with YES=1"
    read -r -p "$1 [y/N] " answer
    [ "$answer" = y ] || [ "$answer" = Y ]
}

# output NAME: an output of the stack; nothing when it has none of that name.
output() {
    if [ ! -e "$scratch/outputs" ]; then
        aws cloudformation describe-stacks --stack-name "$stack" --output text \
            --query 'Stacks[0].Outputs[].[OutputKey,OutputValue]' >"$scratch/outputs" 2>"$scratch/problem" ||
            die "there is no stack $stack here" "$(tail -n 1 "$scratch/problem")" "is AWS_REGION right? STACK=… names another one; make deploy makes it"
    fi
    awk -v key="$1" '$1 == key { print $2 }' "$scratch/outputs"
}

# call PAYLOAD: invokes the function; its answer goes to $scratch/answer. Fails as the function does.
call() {
    local binary=()
    # The second version takes payloads for base64 unless told otherwise; the first does not know the flag.
    first_version || binary=(--cli-binary-format raw-in-base64-out)
    # A tick may last longer than the CLI waits by default (60 s), and would then be started again.
    AWS_MAX_ATTEMPTS=1 aws lambda invoke --function-name "$(output FunctionName)" "${binary[@]}" --cli-read-timeout 900 \
        --payload "$1" --query FunctionError --output text "$scratch/answer" >"$scratch/error" 2>"$scratch/problem" ||
        die "the function could not be invoked" "$(tail -n 1 "$scratch/problem")"
    grep -qx None "$scratch/error"
}

# field EXPRESSION: of the last answer; also of the report in the message of a failed tick.
field() {
    python3 - "$scratch/answer" "$1" <<'PYTHON'
import json, sys
answer = json.load(open(sys.argv[1]))
try:
    answer = json.loads(answer["errorMessage"])
except (KeyError, TypeError, ValueError):
    pass
for key in sys.argv[2].split("."):
    answer = answer[int(key)] if isinstance(answer, list) else (answer or {}).get(key)
print("" if answer is None else answer)
PYTHON
}

# Sets $owed to the samples in the spool, of all remotes.
owed() {
    call '{"action": "status"}' || { show; die "the spool cannot be read" "mend that first, or delete the stack by hand: aws cloudformation delete-stack"; }
    owed=$(python3 -c 'import json, sys; print(sum(remote["samples"] for remote in json.load(open(sys.argv[1]))["remotes"]))' "$scratch/answer")
}

show() {
    python3 -m json.tool "$scratch/answer" 2>/dev/null || cat "$scratch/answer"
}

# schedule STATE: sets it in the stack, so that no later deployment turns it back.
schedule() {
    aws cloudformation describe-stacks --stack-name "$stack" --output text --query 'Stacks[0].Parameters[].[ParameterKey,ParameterValue]' >"$scratch/parameters"
    if awk -v state="$1" '$1 == "ScheduleState" { found = $2 == state } END { exit !found }' "$scratch/parameters"; then
        say "the schedule is $1"
        return
    fi
    local parameters=("ParameterKey=ScheduleState,ParameterValue=$1") key
    while read -r key; do
        [ "$key" = ScheduleState ] || parameters+=("ParameterKey=$key,UsePreviousValue=true")
    done < <(cut -f 1 "$scratch/parameters")
    aws cloudformation update-stack --stack-name "$stack" --use-previous-template --parameters "${parameters[@]}" \
        --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND >/dev/null
    aws cloudformation wait stack-update-complete --stack-name "$stack"
    say "the schedule is $1"
}

check_config() {
    [ -r "$config" ] || die "no configuration at $config" "write one (README, Configuration by example), or CONFIG=… names another"
    if [ -n "$forwardctl" ]; then
        # What the stack gives the function, so that \${SPOOL_URL} and its like have a value here.
        env AMP_REGION=x AMP_WORKSPACE_ID=ws AMP_REMOTE_WRITE_URL=https://amp.invalid/api/v1/remote_write SPOOL_URL=s3://bucket/spool \
            "$forwardctl" check --config "$config" || die "$config is not valid: nothing was uploaded"
    else
        say "forwardctl is not on PATH (cargo install --locked --path .): $config is checked by the function"
    fi
}

upload() {
    local to
    to=$(output ConfigUrl)
    [ -n "$to" ] || return 0
    check_config
    aws s3 cp --only-show-errors "$config" "$to"
    say "uploaded $config to $to"
}

# A process reads its configuration once: a change of the function's settings starts new ones.
restart() {
    local version
    version=$(cksum <"$config" | cut -d ' ' -f 1)
    aws lambda update-function-configuration --function-name "$(output FunctionName)" \
        --description "Pulls the home Prometheus and writes to Amazon Managed Service for Prometheus (configuration $version)" >/dev/null
    aws lambda wait function-updated --function-name "$(output FunctionName)"
}

check() {
    step "check: the configuration, the home, AMP and the spool, from inside of the VPC"
    call '{"action": "check"}' || { show; die "the function refuses" "mend what it says; the schedule is not started"; }
    show
    [ "$(field ok)" = True ] || die "not all is well" "mend what it says, then make deploy again; the schedule is not started"
}

deploy() {
    aws_ready
    need sam "install the SAM CLI: https://docs.aws.amazon.com/serverless-application-model/"
    [ -r "$here/samconfig.toml" ] || die "no $here/samconfig.toml" "cp $here/samconfig.toml.example $here/samconfig.toml, and fill in what it names"
    step "deploy $stack into account $(cat "$scratch/account")"
    # Off until the stack has shown that it works, at each deployment.
    grep -q 'ScheduleState=DISABLED' "$here/samconfig.toml" || die "no ScheduleState=DISABLED in $here/samconfig.toml" \
        "the schedule must be off until check and dry run are content: put it into parameter_overrides, as in samconfig.toml.example"
    sam deploy --template-file "$here/template.yaml" --config-file "$here/samconfig.toml" --stack-name "$stack" \
        --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --resolve-s3 --no-fail-on-empty-changeset
    upload
    check
    step "dry run: one scrape, nothing sent"
    call '{"action": "forward", "dry_run": true}' || { show; die "the scrape failed" "the schedule is not started"; }
    say "$(field ledger.scraped) samples a scrape, of which $(field ledger.owed_after) would be sent"
    step "estimate"
    if [ -n "$forwardctl" ] && [ -r "$config" ]; then
        env AMP_REGION="${AWS_REGION:-us-east-1}" AMP_WORKSPACE_ID="$(output WorkspaceId)" SPOOL_URL="$(output SpoolUrl)" \
            AMP_REMOTE_WRITE_URL="https://aps-workspaces.${AWS_REGION:-us-east-1}.amazonaws.com/workspaces/$(output WorkspaceId)/api/v1/remote_write" \
            "$forwardctl" estimate --config "$config" --watch "${WATCH:-1m}" ||
            say "no estimate: this machine may not reach the home; run forwardctl estimate where it can be reached"
    else
        say "run forwardctl estimate where the home can be reached"
    fi
    if ask "start the schedule, once a minute?"; then schedule ENABLED; else say "not started: make enable does it"; fi
}

invoke() {
    aws_ready
    local payload
    payload=$(python3 - "${ACTION:-forward}" "${JOBS:-}" "${DRY_RUN:-}" <<'PYTHON'
import json, sys
action, jobs, dry_run = sys.argv[1:]
event = {"action": action}
if jobs:
    event["jobs"] = jobs.split(",")
if dry_run:
    event["dry_run"] = True
print(json.dumps(event))
PYTHON
)
    if call "$payload"; then show; else show; exit 1; fi
}

logs() {
    aws_ready
    if first_version; then
        # It cannot tail.
        local since=${SINCE:-10m} seconds=60
        [[ $since =~ ^[0-9]+[mh]$ ]] || die "SINCE=$since is no time" "write 10m or 2h"
        [[ $since == *h ]] && seconds=3600
        since=$(($(date +%s) - ${since%?} * seconds))
        aws logs filter-log-events --log-group-name "$(output LogGroupName)" --start-time "${since}000" --query 'events[].[message]' --output text
        return
    fi
    aws logs tail "$(output LogGroupName)" --since "${SINCE:-10m}" --format short ${FOLLOW:+--follow}
}

config() {
    aws_ready
    [ -n "$(output ConfigUrl)" ] || die "this stack's configuration is not in its bucket" "with Config=package: make build deploy puts the new one into the zip"
    upload
    restart
    check
}

destroy() {
    aws_ready
    need sam "install the SAM CLI: https://docs.aws.amazon.com/serverless-application-model/"
    step "stop the schedule"
    schedule DISABLED
    step "what is still owed"
    local owed before=
    while owed && [ "$owed" != 0 ]; do
        say "$owed samples are in the spool"
        if [ "$owed" != "$before" ] && ask "send them now?"; then
            before=$owed
            call '{"action": "drain"}' || show
            continue
        fi
        [ "$owed" != "$before" ] || say "the last drain sent nothing: see above"
        say "the bucket stays: forwardctl spool export reads them from $(output SpoolUrl) at any time"
        if [ "${YES:-}" = 1 ] || ! ask "delete the stack all the same?"; then
            die "nothing was deleted; the schedule is stopped" "make enable starts it again"
        fi
        break
    done
    step "delete $stack"
    local bucket
    bucket=$(output SpoolBucketName)
    ask "delete the stack $stack?" || die "nothing was deleted; the schedule is stopped" "make enable starts it again"
    aws cloudformation delete-stack --stack-name "$stack"
    aws cloudformation wait stack-delete-complete --stack-name "$stack"
    say "deleted; the bucket $bucket is kept: aws s3 rb --force s3://$bucket removes it with all that was rejected or expired"
}

case ${1:-} in
deploy | invoke | logs | config | destroy) "$1" ;;
enable) aws_ready && schedule ENABLED ;;
disable) aws_ready && schedule DISABLED ;;
*) die "usage: stack.sh deploy|invoke|logs|config|enable|disable|destroy" ;;
esac
