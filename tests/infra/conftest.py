import pytest

from moto_stack import CODE_BUCKET, CODE_KEY, Moto, Stack


@pytest.fixture(scope="session")
def moto(tmp_path_factory):
    server = Moto(tmp_path_factory.mktemp("moto") / "log")
    # What `sam package` uploads. moto runs no function of it.
    s3 = server.client("s3")
    s3.create_bucket(Bucket=CODE_BUCKET)
    s3.put_object(Bucket=CODE_BUCKET, Key=CODE_KEY, Body=b"PK\x05\x06" + bytes(18))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def stack(moto):
    return Stack(moto, "forwarder", {"AlarmEmail": "me@example.com", "S3RouteTableIds": "", "Config": "bucket"})
