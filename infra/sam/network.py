"""The network of a deployment: the VPC whose subnets' routes lead home, and how the function reaches AMP and S3 from there."""

import concurrent.futures
import fnmatch
import ipaddress
import json
import os

from aws import AwsError

# What a route to the home can lead to.
WAYS = {"vgw-": "the VPN's virtual private gateway", "tgw-": "a transit gateway", "arn:": "a core network"}

# States of a range that a subnet had, or never got.
NO_LONGER = ("disassociating", "disassociated", "failing", "failed")


class NetworkError(Exception):
    """Something that a person must set up or say: the problem, then hints."""


def target(route):
    return next((route[key] for key in ("GatewayId", "TransitGatewayId", "NatGatewayId", "EgressOnlyInternetGatewayId", "CoreNetworkArn", "NetworkInterfaceId",
                                         "VpcPeeringConnectionId") if route.get(key)), "")


def is_way(to):
    return to.startswith(tuple(WAYS))


def name(resource):
    return next((tag["Value"] for tag in resource.get("Tags", []) if tag["Key"] == "Name"), "")


class Tables:
    """The route tables of one VPC."""

    def __init__(self, tables):
        self.main = next((table for table in tables if any(one.get("Main") for one in table["Associations"])), None)
        self.by_subnet = {one["SubnetId"]: table for table in tables for one in table["Associations"] if one.get("SubnetId")}

    def of(self, subnet):
        return self.by_subnet.get(subnet, self.main) or {"RouteTableId": "", "Routes": []}

    def way(self, subnet, network):
        """Where the narrowest route to all of `network` leads, or nothing."""
        best, way = -1, ""
        for route in self.of(subnet)["Routes"]:
            cidr = route.get("DestinationCidrBlock")
            if not cidr or route.get("State") == "blackhole":
                continue
            cidr = ipaddress.ip_network(cidr)
            if network.subnet_of(cidr) and cidr.prefixlen > best:
                best, way = cidr.prefixlen, target(route)
        return way

    def ways(self, subnet):
        """Where the routes of a subnet lead that go by a VPN, a transit gateway or a core network."""
        routes = self.of(subnet)["Routes"]
        return [route["DestinationCidrBlock"] for route in routes if route.get("DestinationCidrBlock") and is_way(target(route))]

    def leads(self, subnet, destination, prefix):
        """Whether the default route of a subnet leads to such a gateway."""
        return any(destination in (route.get("DestinationCidrBlock"), route.get("DestinationIpv6CidrBlock")) and route.get("State") != "blackhole"
                   and target(route).startswith(prefix) for route in self.of(subnet)["Routes"])


class Network:
    """What was found. `choose` asks when several VPCs would do."""

    def __init__(self, aws, home, choose):
        self.aws, self.notes = aws, []
        vpcs = {vpc["VpcId"]: vpc for vpc in aws("ec2", "describe-vpcs").get("Vpcs", [])}
        gateways = self._gateways(vpcs)
        tables, subnets = self._by_vpc("describe-route-tables", "RouteTables"), self._by_vpc("describe-subnets", "Subnets")
        routes = {vpc: Tables(tables.get(vpc, [])) for vpc in vpcs}
        leading = {}
        for vpc in vpcs:
            found = [subnet for subnet in subnets.get(vpc, []) if is_way(routes[vpc].way(subnet["SubnetId"], home))]
            if found:
                leading[vpc] = found
        if not leading:
            raise NetworkError(*self._nowhere(home, gateways, vpcs, routes, subnets))
        options = [(vpc, f"{vpc} {name(vpcs[vpc])} {vpcs[vpc]['CidrBlock']}: {len(found)} subnets, {gateways.get(vpc) or 'its routes lead there'}")
                   for vpc, found in sorted(leading.items())]
        self.vpc = choose("VPCs whose routes lead to the home", "VPC", options)
        vpc, tables = vpcs[self.vpc], routes[self.vpc]
        self.why = f"The VPC with {gateways[self.vpc]}" if self.vpc in gateways else "The VPC whose routes lead to the home"
        self.cidrs = self._cidrs(vpc)
        self.subnets = self._subnets(leading[self.vpc])
        way = tables.way(self.subnets[0], home)
        self.way = f"{next((text for prefix, text in WAYS.items() if way.startswith(prefix)), '')} {way}"
        self._endpoints(tables)
        self._egress(tables, leading[self.vpc])
        lists = aws("ec2", "describe-managed-prefix-lists", "--filters", f"Name=prefix-list-name,Values=com.amazonaws.{aws.region}.s3").get("PrefixLists", [])
        if not lists:
            raise NetworkError(f"there is no prefix list com.amazonaws.{aws.region}.s3", "is the region right?")
        self.s3_prefix_list = lists[0]["PrefixListId"]
        if self.egress == "endpoint" and not self.endpoint_group:
            self._dns()

    def _by_vpc(self, call, key):
        found = {}
        for one in self.aws("ec2", call).get(key, []):
            found.setdefault(one["VpcId"], []).append(one)
        return found

    def _gateways(self, vpcs):
        """The VPCs with a virtual private gateway or an attachment to a transit gateway."""
        found = {}
        for gateway in self.aws("ec2", "describe-vpn-gateways").get("VpnGateways", []):
            for attachment in gateway.get("VpcAttachments", []):
                if attachment["State"] == "attached" and attachment["VpcId"] in vpcs:
                    found[attachment["VpcId"]] = f"the virtual private gateway {gateway['VpnGatewayId']}"
        for attachment in self.aws("ec2", "describe-transit-gateway-vpc-attachments").get("TransitGatewayVpcAttachments", []):
            if attachment["State"] == "available" and attachment["VpcId"] in vpcs:
                found.setdefault(attachment["VpcId"], f"the transit gateway {attachment['TransitGatewayId']}")
        return found

    def _nowhere(self, home, gateways, vpcs, routes, subnets):
        """What is missing, and where it may be."""
        if not gateways:
            elsewhere = [f"{region} has {gateways}: AWS_REGION={region} make discover" for region, gateways in self._other_regions()]
            return (f"no VPC in {self.aws.region} has a route to {home}, a virtual private gateway or a transit gateway",
                    *(elsewhere or ["no other region of this account has any, either: is it the right account (AWS_PROFILE)?",
                                    "otherwise set up the Site-to-Site VPN first: infra/README.md, What you need"]))
        hints = []
        for vpc, gateway in gateways.items():
            leads = {str(cidr) for subnet in subnets.get(vpc, []) for cidr in routes[vpc].ways(subnet["SubnetId"])}
            hints.append(f"{vpc} has {gateway}; its subnets' routes lead to " + (", ".join(sorted(leads)) + " that way" if leads else "nothing that way"))
        inside = [vpc for vpc in vpcs if any(home.subnet_of(ipaddress.ip_network(cidr)) for cidr in self._cidrs(vpcs[vpc]))]
        return (f"no subnet in {self.aws.region} has a route to {home} by a VPN or a transit gateway", *hints,
                *(f"{home} is an address of {vpc} itself, not of the home" for vpc in inside),
                f"is {home} the home's address? forwarder.yml names it (or TARGET, HOME_CIDR)",
                f"if it is: propagate the gateway's routes into the subnets' route table, or add a route to {home}")

    def _other_regions(self):
        """The regions with a virtual private gateway or a transit gateway, for somebody who has looked into the wrong one."""
        regions = sorted(one["RegionName"] for one in self.aws("ec2", "describe-regions").get("Regions", []))

        def gateways(region):
            there = self.aws.elsewhere(region)
            try:
                found = [one["VpnGatewayId"] for one in there("ec2", "describe-vpn-gateways").get("VpnGateways", []) if one.get("State") != "deleted"]
                return found + [one["TransitGatewayId"] for one in there("ec2", "describe-transit-gateways").get("TransitGateways", []) if one.get("State") != "deleted"]
            except AwsError:
                # Nobody has to be allowed everywhere.
                return []

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = zip(regions, pool.map(gateways, regions))
        return [(region, ", ".join(some)) for region, some in found if some and region != self.aws.region]

    @staticmethod
    def _cidrs(vpc):
        found = [one["CidrBlock"] for one in vpc.get("CidrBlockAssociationSet", []) if one["CidrBlockState"]["State"] == "associated"]
        # The template takes five, the usual quota; beyond them it admits the function by its security group.
        return (found or [vpc["CidrBlock"]])[:5]

    def _subnets(self, found):
        """Two subnets in two zones, those with the most free addresses."""
        named = os.environ.get("SUBNETS")
        if named:
            wrong = set(named.split(",")) - {subnet["SubnetId"] for subnet in found}
            if wrong:
                raise NetworkError(f"the routes of {', '.join(sorted(wrong))} do not lead to the home", "these do: " + ", ".join(one["SubnetId"] for one in found))
            return named.split(",")
        roomy = sorted(found, key=lambda subnet: (-subnet.get("AvailableIpAddressCount", 0), subnet["SubnetId"]))
        zones = {}
        for subnet in roomy:
            zones.setdefault(subnet["AvailabilityZone"], subnet["SubnetId"])
        if len(zones) == 1:
            self.notes.append("all of these subnets are in one zone: the loss of that zone stops the function")
        return [zones[zone] for zone in sorted(zones)][:2]

    def _endpoints(self, tables):
        found = self.aws("ec2", "describe-vpc-endpoints", "--filters", f"Name=vpc-id,Values={self.vpc}").get("VpcEndpoints", [])
        found = [one for one in found if one.get("State", "available").lower() in ("available", "pending")]
        # Without private DNS an endpoint does not take AMP's name. That of FIPS takes another name.
        aps = [one for one in found if one["ServiceName"].endswith(".aps-workspaces") and one.get("PrivateDnsEnabled", True) and one.get("Groups")]
        self.endpoint = aps[0] if aps else None
        self.endpoint_id = self.endpoint["VpcEndpointId"] if aps else None
        self.endpoint_group = self.endpoint["Groups"][0]["GroupId"] if aps else None
        have = {table for one in found if one["ServiceName"].endswith(".s3") and one.get("VpcEndpointType", "Gateway") == "Gateway" for table in one.get("RouteTableIds", [])}
        wanted = dict.fromkeys(tables.of(subnet)["RouteTableId"] for subnet in self.subnets)
        self.s3_tables = [table for table in wanted if table and table not in have]

    def _egress(self, tables, found):
        """The cheapest way to AMP that is there already; otherwise an endpoint is made."""
        def all_lead(destination, prefix):
            return all(tables.leads(subnet, destination, prefix) for subnet in self.subnets)

        six = {subnet["SubnetId"] for subnet in found
               if any(one["Ipv6CidrBlockState"]["State"] not in NO_LONGER for one in subnet.get("Ipv6CidrBlockAssociationSet", []))}
        ways = [
            (self.endpoint_group, "endpoint", f"The VPC has an endpoint for AMP, {self.endpoint_id}: it admits the function"),
            (set(self.subnets) <= six and all_lead("::/0", "eigw-"), "ipv6", "The subnets have IPv6 and a way out, which cost nothing"),
            (all_lead("0.0.0.0/0", "nat-"), "nat", "The subnets' default route is a NAT gateway, which is there already"),
            (True, "endpoint", "Nothing leads to AMP yet: an interface endpoint is made"),
        ]
        named = os.environ.get("EGRESS")
        self.egress, self.egress_why = next((egress, why) for there, egress, why in ways if there) if not named else (named, "As EGRESS says")
        if self.egress != "endpoint":
            self.endpoint_group = None
        elif not self.endpoint_group and set(self.subnets) <= six:
            self.notes.append("the subnets have IPv6: EGRESS=ipv6 and EgressRouteTableId would cost nothing in the place of the endpoint")

    def admits(self, workspace):
        """Whether the policy of the endpoint that is there lets samples for a workspace through, as far as its Allow statements say."""
        document = json.loads(self.endpoint.get("PolicyDocument") or "{}")
        statements = document.get("Statement", [])

        def matches(patterns, value):
            return any(fnmatch.fnmatchcase(value, one) for one in ([patterns] if isinstance(patterns, str) else patterns))

        return any(one.get("Effect") == "Allow" and matches(one.get("Action", []), "aps:RemoteWrite") and matches(one.get("Resource", []), workspace)
                   for one in ([statements] if isinstance(statements, dict) else statements))

    def _dns(self):
        for attribute in ("enableDnsSupport", "enableDnsHostnames"):
            answer = self.aws("ec2", "describe-vpc-attribute", "--vpc-id", self.vpc, "--attribute", attribute)
            key = attribute[0].upper() + attribute[1:]
            if not answer.get(key, {}).get("Value"):
                option = "--enable-dns-support" if attribute == "enableDnsSupport" else "--enable-dns-hostnames"
                raise NetworkError(f"{attribute} of {self.vpc} is off, and the endpoint's private DNS needs it",
                                   f"aws ec2 modify-vpc-attribute --vpc-id {self.vpc} {option} '{{\"Value\":true}}' --region {self.aws.region}")
