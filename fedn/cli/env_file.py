"""The variables of a deployment: `.env.example` is made of them, and so is what `fedn env init` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One line of the file; a secret has no default. What is part of an address cannot have all characters."""

    name: str
    default: str
    what: str
    secret: bool = False
    in_address: bool = False


@dataclass(frozen=True)
class Section:
    """Variables that belong together."""

    title: str
    variables: tuple[Variable, ...]


INTRODUCTION = """\
The variables of a deployment with docker-compose: docs/deployment.md.
`fedn env init` writes this file as .env, with random secrets. Or copy it, and fill in what is empty.
Write no placeholders such as change-me: the roles refuse them, but MongoDB, MinIO and mongo-express start with them,
and keep them. `fedn env check` names them, and what is empty.
docker-compose reads .env by itself. Each process is given those variables that it needs, and no others.
"""

SECTIONS = (
    Section(
        "The network",
        (
            Variable(
                "ALLIANCE_UID",
                "fedn",
                "Name of the network: of its database and of its bucket (3 to 38 of a-z, 0-9, -).",
            ),
            Variable(
                "EXAMPLE",
                "digits",
                "The project: a folder of test/. Its requirements.txt goes into the clients' image.",
            ),
            Variable("CLIENT_NAME_BASE", "client-", "Clients are named this and the number of their part of the data."),
            Variable("COMBINER_NAME_BASE", "combiner-", "Combiners are named this and the number of their folder."),
            Variable(
                "CLIENT_PARTS", "5", "In how many parts the data is split: at least as many as there are clients."
            ),
            Variable(
                "CLIENT_DATA",
                "data",
                "Folder on this machine with the clients' data, such as /srv/data; else an empty volume.",
            ),
        ),
    ),
    Section(
        "The two tokens (at least 16 characters)",
        (
            Variable(
                "FEDN_ALLIANCE_AUTH_TOKEN", "", "Network token: lets clients in. Each data owner has it.", secret=True
            ),
            Variable(
                "FEDN_ALLIANCE_ADMIN_AUTH_TOKEN",
                "",
                "Admin token: for people, reducer and combiners; can do all.",
                secret=True,
            ),
        ),
    ),
    Section(
        "The reducer: REST and dashboard",
        (
            Variable(
                "FEDN_REDUCER_HOST",
                "reducer",
                "Its name in the network of the containers; what combiners and clients dial.",
            ),
            Variable("FEDN_REDUCER_PORT", "8090", "Its port there."),
            Variable(
                "PUBLISH_ADDRESS",
                "127.0.0.1",
                "Where this machine offers it. There is no TLS yet: put a proxy before others.",
            ),
            Variable("PUBLISH_PORTS", "8090", "Port on this machine; a range such as 8090-8091 for two reducers."),
            Variable(
                "FORWARDED_ALLOW_IPS",
                "127.0.0.1",
                "Addresses of the proxy before it, as the reducer sees them: whose X-Forwarded-Proto is believed.",
            ),
        ),
    ),
    Section(
        "MongoDB: the state, with the user that is made at its first start",
        (
            Variable("FEDN_MONGO_HOST", "mongo", "Its name in the network of the containers."),
            Variable("FEDN_MONGO_PORT", "27017", "Its port there; it is not offered outside."),
            Variable("FEDN_MONGO_USER", "fedn", "Its user, who may do all.", in_address=True),
            Variable(
                "FEDN_MONGO_PASSWORD",
                "",
                "The password: of letters, digits and -._~, as it is part of the address that mongo-express has.",
                secret=True,
                in_address=True,
            ),
        ),
    ),
    Section(
        "mongo-express: a page to look into MongoDB, at 127.0.0.1:8081",
        (
            Variable("FEDN_ME_USERNAME", "admin", "Who may log in."),
            Variable("FEDN_ME_PASSWORD", "", "Their password.", secret=True),
        ),
    ),
    Section(
        "MinIO: the models; its console is at 127.0.0.1:9001",
        (
            Variable("FEDN_MINIO_HOST", "minio", "Its name in the network of the containers."),
            Variable("FEDN_MINIO_PORT", "9000", "Its port there; it is not offered outside."),
            Variable("FEDN_MINIO_ACCESS_KEY", "fedn", "Its access key."),
            Variable("FEDN_MINIO_SECRET_KEY", "", "Its secret key.", secret=True),
        ),
    ),
    Section(
        "Limits of a container, and logs",
        (
            Variable("REDUCER_MEMORY", "1g", "Memory of a reducer."),
            Variable("REDUCER_CPUS", "1.0", "Processors of a reducer."),
            Variable("COMBINER_MEMORY", "1g", "Memory of a combiner."),
            Variable("COMBINER_CPUS", "1.0", "Processors of a combiner."),
            Variable("CLIENT_MEMORY", "1g", "Memory of a client, with its training."),
            Variable("CLIENT_CPUS", "1.0", "Processors of a client."),
            Variable("LOG_LEVEL", "info", "How much the roles log: debug, info, warning, error."),
        ),
    ),
    Section(
        "docker-compose itself",
        (
            Variable("COMPOSE_PROJECT_NAME", "fedn", "Containers, volumes and the network are named after it."),
            Variable(
                "COMPOSE_IGNORE_ORPHANS",
                "true",
                "The four files make one project: it must not warn of the other three.",
            ),
            Variable(
                "PIP_EXTRA_INDEX_URL",
                "",
                "For the clients' image; CPU builds of torch: https://download.pytorch.org/whl/cpu",
            ),
        ),
    ),
)

VARIABLES = tuple(variable for section in SECTIONS for variable in section.variables)
SECRETS = tuple(variable.name for variable in VARIABLES if variable.secret)


def rendered(values: Mapping[str, str]) -> str:
    """The file; a variable that has no value is given its default."""
    return "\n".join(_lines(values)) + "\n"


def _lines(values: Mapping[str, str]) -> Iterator[str]:
    for line in INTRODUCTION.splitlines():
        yield f"# {line}"
    for section in SECTIONS:
        yield ""
        yield f"# ── {section.title}"
        for variable in section.variables:
            yield f"# {variable.what}"
            yield f"{variable.name}={values.get(variable.name, variable.default)}"
