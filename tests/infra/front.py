"""AWS as the AWS CLI and the SAM CLI see it: moto, with what it lacks.

Invocations reach the real function. The macro of SAM is applied to a change set's template, as CloudFormation does it, and
parameters get their defaults, which moto forgets. A change set is executed as an update, too, since moto leaves the outputs out
otherwise. Subscriptions by e-mail are pending, as they are until somebody opens a mail.
"""

import http.server
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

PENDING = """<ListSubscriptionsByTopicResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><ListSubscriptionsByTopicResult><Subscriptions><member>
<SubscriptionArn>PendingConfirmation</SubscriptionArn><Owner>123456789012</Owner><Protocol>email</Protocol><Endpoint>me@example.com</Endpoint>
<TopicArn>{}</TopicArn></member></Subscriptions></ListSubscriptionsByTopicResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</ListSubscriptionsByTopicResponse>"""


EXECUTED = """<ExecuteChangeSetResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><ExecuteChangeSetResult/><ResponseMetadata>
<RequestId>1</RequestId></ResponseMetadata></ExecuteChangeSetResponse>"""


class Front(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, moto, function):
        super().__init__(("127.0.0.1", 0), Handler)
        self.moto, self.function, self.invoked, self.regions = moto.url, function, [], set()
        self.s3 = moto.client("s3")
        self.change_sets = {}
        # What the function answers, by action, in the place of the real one's answer.
        self.answers = {}
        # Errors with which it answers before that, by action.
        self.failing = {}
        # Stacks whose first creation has failed, until they are deleted.
        self.failed = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def template(self, url):
        """The template that `sam` uploaded."""
        bucket, _, key = urllib.parse.urlparse(url).path.lstrip("/").partition("/")
        return yaml_parse(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        scope = (self.headers.get("Authorization") or "").partition("Credential=")[2].split("/")
        if len(scope) > 3:
            self.server.regions.add(scope[2])
        to = self.server.moto
        if self.path.startswith("/2015-03-31/functions/") and self.path.endswith("/invocations"):
            to = self.server.function
            event = json.loads(body)
            self.server.invoked.append(event)
            failing = self.server.failing.get(event["action"])
            if failing:
                return self.reply(200, {"Content-Type": "application/json", "X-Amz-Function-Error": "Unhandled"}, json.dumps(failing.pop(0)).encode())
            made = self.server.answers.get(event["action"])
            if made is not None:
                return self.reply(200, {"Content-Type": "application/json"}, json.dumps(made).encode())
        elif body.startswith(b"Action=CreateChangeSet"):
            body = self.change_set(urllib.parse.parse_qs(body.decode(), keep_blank_values=True))
        elif body.startswith(b"Action=ExecuteChangeSet"):
            self.execute(self.server.change_sets[urllib.parse.parse_qs(body.decode())["StackName"][0]])
            return self.reply(200, {"Content-Type": "text/xml"}, EXECUTED.encode())
        elif body.startswith(b"Action=DeleteStack"):
            self.server.failed.discard(urllib.parse.parse_qs(body.decode())["StackName"][0])
        elif body.startswith(b"Action=DescribeStacks"):
            if urllib.parse.parse_qs(body.decode()).get("StackName", [""])[0] in self.server.failed:
                return self.forward(to, body, lambda content: re.sub(rb"(?<=<StackStatus>)\w+", b"ROLLBACK_COMPLETE", content))
        elif body.startswith(b"Action=ListSubscriptionsByTopic"):
            topic = urllib.parse.parse_qs(body.decode())["TopicArn"][0]
            return self.reply(200, {"Content-Type": "text/xml"}, PENDING.format(topic).encode())
        self.forward(to, body)

    def change_set(self, form):
        form = {key: values[0] for key, values in form.items()}
        template = self.server.template(form["TemplateURL"]) if "TemplateURL" in form else yaml_parse(form["TemplateBody"])
        if template.get("Transform"):
            given = {form[key]: key.rsplit(".", 1)[0] for key in form if key.endswith(".ParameterKey")}
            # Not in the stack of the bucket that sam keeps.
            function = template["Resources"].get("Function", {}).get("Properties", {})
            if isinstance(function.get("CodeUri"), str):
                bucket, _, key = function["CodeUri"].removeprefix("s3://").partition("/")
                function["CodeUri"] = {"Bucket": bucket, "Key": key}
            template = Translator({}, Parser()).translate(template, {})
            if form["ChangeSetType"] == "CREATE":
                number = len(given)
                for name, one in template.get("Parameters", {}).items():
                    if name not in given and "Default" in one:
                        number += 1
                        form[f"Parameters.member.{number}.ParameterKey"] = name
                        form[f"Parameters.member.{number}.ParameterValue"] = str(one["Default"])
            form.pop("TemplateURL", None)
            form["TemplateBody"] = json.dumps(template)
        self.server.change_sets[form["StackName"]] = form
        return urllib.parse.urlencode(form).encode()

    def execute(self, form):
        """moto executes a change set without the outputs of its stack, and knows no conditions there."""
        kept = {key: value for key, value in form.items() if key.split(".")[0] in ("Version", "StackName", "Parameters", "Capabilities", "Tags")}
        template = yaml_parse(form["TemplateBody"])
        if form["ChangeSetType"] == "CREATE" and "Function" in template["Resources"]:
            self.send({"Action": "DeleteStack", "Version": form["Version"], "StackName": form["StackName"]})
            self.send({"Action": "CreateStack", **kept, "TemplateBody": form["TemplateBody"]})
            return
        if form["ChangeSetType"] == "CREATE":
            # The bucket that sam keeps: sam waits for the very stack of its change set. An update makes the outputs.
            self.send({"Action": "ExecuteChangeSet", **{key: form[key] for key in ("Version", "StackName", "ChangeSetName")}})
        template.setdefault("Metadata", {})["ChangeSet"] = form["ChangeSetName"]
        self.send({"Action": "UpdateStack", **kept, "TemplateBody": json.dumps(template)})

    def send(self, form):
        headers = {key: self.headers[key] for key in ("Authorization", "Content-Type")}
        request = urllib.request.Request(self.server.moto, data=urllib.parse.urlencode(form).encode(), headers=headers, method="POST")
        urllib.request.urlopen(request, timeout=300).read()

    def forward(self, to, body, changed=lambda content: content):
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection", "expect", "accept-encoding", "content-length")}
        request = urllib.request.Request(to + self.path, data=body or None, headers=headers, method=self.command)
        try:
            response = urllib.request.urlopen(request, timeout=120)
        except urllib.error.HTTPError as error:
            response = error
        content = b"" if self.command == "HEAD" else changed(response.read())
        kept = {key: value for key, value in response.headers.items()
                if key.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server")}
        self.reply(response.status, kept, content, response.headers.get("Content-Length", "0") if self.command == "HEAD" else None)

    def reply(self, status, headers, content, length=None):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass
