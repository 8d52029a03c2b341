# shellcheck shell=bash
# What stack.sh and its commands share: messages, settings, questions, calls to AWS. It runs with bash 3.2
# (macOS), where an empty array must not be expanded under `set -u`. The script that reads it sets `here`, the
# folder of these files, and `settings`, the path of samconfig.toml.
: "${here:?}" "${settings:?}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s\n' "$*" >&2; }

# die PROBLEM [HINT…]: reports the problem, one hint on each line, and exits.
die() {
    say "error: $1"
    shift
    local line
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

# setting NAME: prints a value of samconfig.toml, or nothing.
setting() {
    [ -r "$settings" ] || return 0
    awk -v key="$1" '
        /^\[/ { here = /^\[default\.(deploy|global)\.parameters\]/ }
        here && $0 ~ "^" key "[ \t]*=" {
            sub(/^[^=]*=[ \t]*/, ""); sub(/[ \t]*(#.*)?$/, ""); gsub(/"/, ""); print; exit
        }' "$settings"
}

# override NAME: prints a parameter that samconfig.toml gives the stack, or nothing. `sam deploy --guided` writes them all
# into one string, with quotes of their own.
override() {
    [ -r "$settings" ] || return 0
    sed -n 's/^[^#]*[" ]'"$1"'=\\*"*\([^" \\]*\).*/\1/p' "$settings" | tail -n 1
}

# read_settings: region, profile and name of the stack are read once. SAM takes them from samconfig.toml,
# and the AWS CLI must ask the same place.
read_settings() {
    local region profile
    profile=$(setting profile)
    [ -z "$profile" ] || export AWS_PROFILE=$profile
    region=$(setting region)
    if [ -n "$region" ] && [ "${AWS_REGION:-$region}" != "$region" ]; then
        say "note: the region is $region, from $settings, and not AWS_REGION=$AWS_REGION"
    fi
    region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}
    [ -n "$region" ] || region=$(aws configure get region 2>/dev/null || true)
    [ -z "$region" ] || export AWS_REGION=$region AWS_DEFAULT_REGION=$region
    stack=${STACK:-$(setting stack_name)}
    stack=${stack:-amp-forwarder}
}

aws_ready() {
    need aws "install the AWS CLI: https://docs.aws.amazon.com/cli/"
    read_settings
    [ -n "${AWS_REGION:-}" ] || die "no region is set" "set AWS_REGION, or region in $settings"
    aws sts get-caller-identity --query Account --output text \
        >"$scratch/account" 2>"$scratch/problem" ||
        die "AWS does not accept your credentials" "$(problem)" \
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
    case $answer in [yY] | [yY][eE][sS]) ;; *) return 1 ;; esac
}

# output NAME: prints an output of the stack, or nothing when the stack has no such output.
output() {
    if [ ! -e "$scratch/outputs" ]; then
        aws cloudformation describe-stacks --stack-name "$stack" --output text \
            --query 'Stacks[0].Outputs[].[OutputKey,OutputValue]' \
            >"$scratch/outputs" 2>"$scratch/problem" ||
            die "there is no stack $stack in $AWS_REGION" "$(problem)" \
                "check the region; STACK=… selects another stack; make deploy creates it"
    fi
    awk -F '\t' -v key="$1" '$1 == key { print $2 }' "$scratch/outputs"
}

# sites_only: leaves the lines of sites. The schedules of their verifications have names that CloudFormation makes,
# with capital letters in them.
sites_only() { awk '$1 ~ /^[a-z0-9-]+$/'; }

# call PAYLOAD: invokes the function and writes its answer to $scratch/answer. Fails when the
# function reports an error.
call() {
    local function binary=
    function=$(output FunctionName)
    # Version 2 decodes payloads from base64 unless this flag is given; version 1 rejects the flag.
    first_version || binary=raw-in-base64-out
    # A tick may take longer than the CLI's default read time-out of 60 s. A retry would then start
    # a second tick.
    AWS_MAX_ATTEMPTS=1 aws lambda invoke --function-name "$function" \
        ${binary:+--cli-binary-format "$binary"} \
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

# findings: shows the answer of a check, a line for each finding as forwardctl check prints it.
findings() {
    "$here/lambda_json.py" findings "$scratch/answer" 2>/dev/null || show
}

# parameter NAME: prints a parameter of the stack, or nothing when the stack has no such parameter.
parameter() {
    aws cloudformation describe-stacks --stack-name "$stack" --output text \
        --query 'Stacks[0].Parameters[].[ParameterKey,ParameterValue]' >"$scratch/parameters"
    awk -F '\t' -v key="$1" '$1 == key { print $2 }' "$scratch/parameters"
}

# schedule STATE: sets the schedule's state as a parameter of the stack, so that the next deployment
# does not revert it.
schedule() {
    local old
    old=$(parameter ScheduleState)
    [ -n "$old" ] || die "the stack $stack has no parameter ScheduleState" \
        "with CDK: scheduleEnabled: new CfnParameter(…), as in infra/cdk/example/app.ts"
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
