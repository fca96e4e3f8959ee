"""Every failure a user can meet has a class here, a stable code and a reason.

::

    FednError
    ├── BadInput                   what was sent is wrong; sending it again will not help
    │   ├── ConfigInvalid              a settings file or fedn.yaml has an unknown key or a wrong value
    │   ├── ModelInvalid               not a safetensors file that we accept
    │   │   └── ModelTooLarge              larger than the limits allow
    │   ├── PackageInvalid             not a compute package that we accept
    │   │   ├── PackagePathOutside         a path in it leads out of its folder
    │   │   ├── PackageLink                it holds a link
    │   │   ├── PackageDevice              it holds a device or a pipe
    │   │   ├── PackageTooLarge            more files or bytes than the limits allow
    │   │   └── NoEntryPoint               its fedn.yaml has no entry point `train`
    │   ├── HelperUnknown              no model helper goes by that name
    │   ├── HelperInvalid              a package's helper cannot be imported, or lacks a function
    │   ├── FrameworkMissing           the framework of a helper is not installed
    │   ├── TrailFileInvalid           not the file of a model trail
    │   ├── DataInvalid                a file is not the data set's
    │   ├── PartitionImpossible        examples cannot be dealt out as asked
    │   └── UpdateRefused              an update that must not be folded
    │       ├── SchemaMismatch             other names, shapes or dtypes than the global model
    │       ├── NonFinite                  NaN, Inf, or a value too large to be summed
    │       ├── BadNumExamples             num_examples missing, not an integer, or out of range
    │       ├── WrongBase                  trained from another model than the round's
    │       ├── UnknownRound               no such round here
    │       ├── RoundClosed                the round has ended: the update is late
    │       ├── NotAParticipant            the round did not ask this client
    │       ├── DuplicateUpdate            this client's update was accepted before
    │       └── BeyondWireDtype            a value that the session's wire_dtype cannot hold
    ├── NotFound                   no such session, model, package or client
    │   └── DataMissing                a data set is not here and cannot be downloaded
    ├── Conflict                   cannot be done in the present state
    │   ├── SessionRunning             one session at a time
    │   ├── PredictionRunning          one prediction at a time
    │   ├── PredictMissing             the compute package has no entry point predict
    │   ├── SeedMissing                no seed model yet
    │   ├── PackageMissing             no compute package yet
    │   ├── ModelMissing               the blob of the trail's newest model is not in the store
    │   ├── SeedExists                 the trail has begun; a new lineage must be asked for
    │   ├── NameTaken                  another client or combiner goes by that name
    │   ├── AlreadyExists              the store holds a document with that key
    │   ├── VersionConflict            the document changed since it was read
    │   └── StaleTerm                  a newer leader has spoken; this one must stop
    ├── AccessRefused              the caller may not do this
    │   ├── Unauthenticated            no token, or one that is not known
    │   ├── PermissionDenied           the token is known, and not enough
    │   ├── ForeignRequest             a page of another site asked, not a person
    │   └── TooManyAttempts            too many wrong tokens from one address
    ├── Unavailable                not now; trying again later may help
    │   ├── ReducerUnreachable         the reducer does not answer
    │   ├── CombinerUnreachable        a combiner does not answer
    │   ├── NoCombiner                 no combiner has room or is up
    │   ├── DiskFull                   no room is left on a process's disk
    │   ├── StoreRefused               a store refuses the credentials, or they lack rights
    │   └── PortTaken                  the address is in use or may not be bound
    ├── StoreAway                  a store did not come back in time
    ├── TransferFailed             a blob did not arrive
    │   ├── TransferStalled            no progress for the allowed time
    │   └── DigestMismatch             the bytes are not those that were announced
    ├── RoundFailed                a round ended without a model
    │   └── QuorumNotMet               fewer updates than clients_required
    │       └── EncodingUnsupported        too few clients know the session's wire_dtype or compression
    ├── TaskFailed                 a client could not do what it was asked
    │   ├── EnvironmentFailed          the package's virtual environment could not be made
    │   ├── EntryPointMissing          the package names no such entry point
    │   │   └── CommandMissing             the command of the entry point is not there
    │   ├── EntryPointFailed           the script ended with an exit code other than 0
    │   ├── EntryPointKilled           the script was killed by a signal, twice
    │   ├── TaskTimeout                the script ran past its time limit
    │   ├── OutputMissing              the script ended well but wrote no output
    │   ├── OutputInvalid              what the script wrote is not what was asked
    │   └── ClientLost                 the client went away and did not come back in time
    ├── TrailBroken                the model trail does not verify
    ├── BlobCorrupt                a stored blob does not match its digest
    ├── Stopped                    the session was asked to stop
    ├── FolderUnusable             a folder cannot be made or written
    └── Interrupted                stopped by the user
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, ClassVar


class FednError(Exception):
    """Something went wrong that FEDn has no better name for."""

    code: ClassVar[str] = "internal"
    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 1
    remedy: ClassVar[str] = "Report it, with the log of the process that said it."

    def __init__(self, reason: str = "", **detail: Any) -> None:
        self.reason = reason or (type(self).__doc__ or "").strip()
        self.detail = detail
        super().__init__(self.reason)

    def as_json(self) -> dict[str, Any]:
        """The error as every interface reports it: ``{code, reason, detail}``."""
        return {"code": self.code, "reason": self.reason, "detail": self.detail}


def tree(root: type[FednError] = FednError) -> Iterator[type[FednError]]:
    """Every error class, parents first, in the order of their definition."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def from_code(code: str, reason: str, **detail: Any) -> FednError:
    """The error that another process named; an unknown code keeps its name in the reason."""
    for cls in tree():
        if cls.code == code:
            return cls(reason, **detail)
    return FednError(f"{code}: {reason}", **detail)


# ── what was sent is wrong ────────────────────────────────────────────────────────────────────────


class BadInput(FednError):
    """What was sent is wrong; sending it again will not help."""

    code = "bad_input"
    http = 400
    grpc = "INVALID_ARGUMENT"
    exit_code = 2
    remedy = "Correct the input as the reason says."


class ConfigInvalid(BadInput):
    """A settings file, fedn.yaml or an environment variable has an unknown key or a wrong value."""

    code = "config_invalid"
    remedy = "The reason names the key, where it stands, and the nearest known one."


class ModelInvalid(BadInput):
    """The bytes are not a safetensors file that FEDn accepts."""

    code = "model_invalid"
    remedy = "Write models with fedn.model.helpers or the safetensors library."


class ModelTooLarge(ModelInvalid):
    """The model is larger than the limits allow."""

    code = "model_too_large"
    http = 413
    grpc = "RESOURCE_EXHAUSTED"
    remedy = "Raise max_model_bytes at every role, or send a smaller model."


class PackageInvalid(BadInput):
    """The archive is not a compute package that FEDn accepts."""

    code = "package_invalid"
    remedy = "Build the package with `fedn package create`."


class PackagePathOutside(PackageInvalid):
    """A path in the compute package is absolute, or leads out of its folder."""

    code = "package_path_outside"


class PackageLink(PackageInvalid):
    """The compute package holds a symbolic or a hard link."""

    code = "package_link"
    remedy = "Put the file itself into the project, or leave the link out by .fednignore."


class PackageDevice(PackageInvalid):
    """The compute package holds a device, a pipe or a socket."""

    code = "package_device"
    remedy = "Leave it out by .fednignore; a package holds plain files only."


class PackageTooLarge(PackageInvalid):
    """The compute package holds more files or bytes than the limits allow."""

    code = "package_too_large"
    http = 413
    grpc = "RESOURCE_EXHAUSTED"
    remedy = "Leave out by .fednignore what the clients do not need; or raise max_package_bytes at every role."


class NoEntryPoint(PackageInvalid):
    """The compute package's fedn.yaml has no entry point `train`."""

    code = "no_entry_point"
    remedy = "Add `train` to entry_points in fedn.yaml."


class HelperUnknown(BadInput):
    """No model helper goes by that name here."""

    code = "helper_unknown"
    remedy = "Choose one of those that the reason lists, or install the package that offers it."


class HelperInvalid(BadInput):
    """The helper that a package offers cannot be imported, or lacks a function."""

    code = "helper_invalid"
    remedy = "Correct the package that the reason names; docs/helpers.md says what a helper is."


class FrameworkMissing(BadInput):
    """The framework of a helper is not installed."""

    code = "framework_missing"
    remedy = "Install what the reason names where the script runs, or add it to python_env."


class TrailFileInvalid(BadInput):
    """The file is not a model trail as `fedn trail export` writes it."""

    code = "trail_file_invalid"
    remedy = "Export the trail again; nothing of the file was used."


class DataInvalid(BadInput):
    """A file of a public data set has another content than it should."""

    code = "data_invalid"
    remedy = "Delete the file that the reason names and fetch it again; without it, it is downloaded."


class PartitionImpossible(BadInput):
    """The examples cannot be dealt out to parts as asked."""

    code = "partition_impossible"
    remedy = "Ask for fewer parts or smaller ones, or give it more examples."


class UpdateRefused(BadInput):
    """The update must not be folded into the model."""

    code = "update_refused"
    remedy = "Look at the client's log: the update it sent does not fit the round."


class SchemaMismatch(UpdateRefused):
    """The update has other tensor names, shapes or dtypes than the round's global model."""

    code = "schema_mismatch"
    remedy = "The training script must save the same tensors that it loaded."


class NonFinite(UpdateRefused):
    """The update holds NaN, Inf, or a value too large to be summed."""

    code = "non_finite"
    remedy = "The training diverged: lower the learning rate, or clip."


class BadNumExamples(UpdateRefused):
    """num_examples is missing, is not an integer, or is out of range."""

    code = "bad_num_examples"
    remedy = "Write the number of training examples (not batches) to <model-out>-metadata."


class WrongBase(UpdateRefused):
    """The update was trained from another model than the round's."""

    code = "wrong_base"
    remedy = "None needed: the client takes the next task from the right model."


class UnknownRound(UpdateRefused):
    """The combiner knows no such round."""

    code = "unknown_round"
    remedy = "None needed: the client drops the update and takes the next task."


class RoundClosed(UpdateRefused):
    """The round has ended; the update came late."""

    code = "round_closed"
    remedy = "Raise round_timeout if clients are often late."


class NotAParticipant(UpdateRefused):
    """The round did not ask this client."""

    code = "not_a_participant"
    remedy = "None needed: the client takes the next task."


class DuplicateUpdate(UpdateRefused):
    """Another update of this client was accepted in this round."""

    code = "duplicate_update"
    remedy = "Look for two processes that run under one client identity."


class BeyondWireDtype(UpdateRefused):
    """A float32 value is beyond the range of the float type in which the session's models and updates travel."""

    code = "beyond_wire_dtype"
    remedy = "Start the session with wire_dtype bfloat16, whose range is float32's, or float32; or clip the weights."


# ── the present state does not allow it ──────────────────────────────────────────────────────────


class NotFound(FednError):
    """There is no such session, model, package, client or document."""

    code = "not_found"
    http = 404
    grpc = "NOT_FOUND"
    exit_code = 3
    remedy = "Check the id; the list commands show what there is."


class DataMissing(NotFound):
    """A public data set is not on this machine and cannot be downloaded."""

    code = "data_missing"
    remedy = "Fetch the file that the reason names, and set FEDN_DATA_DIR (clients: --data-dir) to its folder."


class Conflict(FednError):
    """It cannot be done in the present state."""

    code = "conflict"
    http = 409
    grpc = "FAILED_PRECONDITION"
    exit_code = 4
    remedy = "The reason says what stands in the way."


class SessionRunning(Conflict):
    """A session is running, and there is one at a time."""

    code = "session_running"
    remedy = "Wait for the running session, or stop it with `fedn session stop`."


class PredictionRunning(Conflict):
    """A prediction is running, and there is one at a time."""

    code = "prediction_running"
    remedy = "Ask again when it has ended; its round_timeout says when at the latest."


class PredictMissing(Conflict):
    """The compute package has no entry point `predict`."""

    code = "predict_missing"
    remedy = "Add `predict: python predict.py` to the entry points in fedn.yaml, and upload the package again."


class SeedMissing(Conflict):
    """There is no seed model yet."""

    code = "seed_missing"
    remedy = "Upload one at /seed."


class PackageMissing(Conflict):
    """There is no compute package yet."""

    code = "package_missing"
    remedy = "Upload one at /context; `fedn package create` builds it."


class ModelMissing(Conflict):
    """The blob of the trail's newest model is not in the blob store, so no training can go on from it."""

    code = "model_missing"
    remedy = "Restore the blob that the reason names from a backup, under the same name."


class SeedExists(Conflict):
    """The model trail has begun; another seed would begin a new lineage, which must be asked for."""

    code = "seed_exists"
    remedy = "Start a session: it goes on from the newest model. To train anew: `fedn model seed --new-lineage`."


class NameTaken(Conflict):
    """Another client or combiner goes by that name."""

    code = "name_taken"
    remedy = "Choose another --name, or stop the other one."


class AlreadyExists(Conflict):
    """The store holds a document with that key."""

    code = "already_exists"


class VersionConflict(Conflict):
    """The document changed since it was read."""

    code = "version_conflict"
    grpc = "ABORTED"


class StaleTerm(Conflict):
    """A newer leader has spoken; this one must stop."""

    code = "stale_term"
    remedy = "None needed: the newer leader drives the session."


# ── who is asking ────────────────────────────────────────────────────────────────────────────────


class AccessRefused(FednError):
    """The caller may not do this."""

    code = "access_refused"
    http = 403
    grpc = "PERMISSION_DENIED"
    exit_code = 10
    remedy = "Ask who runs the network for the right to do it."


class Unauthenticated(AccessRefused):
    """The network asks for a token; none came, or one that it does not know."""

    code = "unauthenticated"
    http = 401
    grpc = "UNAUTHENTICATED"
    remedy = (
        "Set FEDN_ALLIANCE_AUTH_TOKEN (clients) or FEDN_ALLIANCE_ADMIN_AUTH_TOKEN (people, reducer, combiners) as in "
        "the network's .env; in a browser, log in."
    )


class PermissionDenied(AccessRefused):
    """The network token is not enough for this."""

    code = "permission_denied"
    remedy = "Use the admin token: FEDN_ALLIANCE_ADMIN_AUTH_TOKEN, or log in with it."


class ForeignRequest(AccessRefused):
    """The request was made by a page of another site, or for another host."""

    code = "foreign_request"
    remedy = "Use the reducer's own pages and its own address; a proxy before it must keep the Host header."


class TooManyAttempts(AccessRefused):
    """Too many wrong tokens came from this address."""

    code = "too_many_attempts"
    http = 429
    grpc = "RESOURCE_EXHAUSTED"
    remedy = "Wait a minute."


# ── not now ──────────────────────────────────────────────────────────────────────────────────────


class Unavailable(FednError):
    """It cannot be done now; trying again later may help."""

    code = "unavailable"
    http = 503
    grpc = "UNAVAILABLE"
    exit_code = 5
    remedy = "Try again; if it lasts, look at the process that does not answer."


class DiskFull(Unavailable):
    """No room is left on the disk of a process's folder; it goes on when there is some."""

    code = "disk_full"
    http = 507
    grpc = "RESOURCE_EXHAUSTED"
    remedy = "Make room on the disk of the process that says it; what waits goes on by itself."


class ReducerUnreachable(Unavailable):
    """The reducer does not answer at its address."""

    code = "reducer_unreachable"
    remedy = "Check that `fedn run reducer` is up and that --reducer names its address."


class CombinerUnreachable(Unavailable):
    """A combiner does not answer at its address."""

    code = "combiner_unreachable"
    remedy = "Check that the combiner is up and that its --advertise address can be reached."


class CombinerDraining(FednError):
    """A combiner was told to stop: it takes no new round and hands back those that run there."""

    code = "combiner_draining"
    http = 503
    grpc = "FAILED_PRECONDITION"
    exit_code = 5
    remedy = "None needed: its clients attach to other combiners, or to this one when it is started again."


class NoCombiner(Unavailable):
    """No combiner is up."""

    code = "no_combiner"
    remedy = "Start one with `fedn run combiner`."


class StoreRefused(Unavailable):
    """A store does not accept the credentials, or gives them too few rights."""

    code = "store_refused"
    exit_code = 2
    remedy = "Correct FEDN_MONGO_USER and FEDN_MONGO_PASSWORD, or FEDN_MINIO_ACCESS_KEY and FEDN_MINIO_SECRET_KEY."


class PortTaken(Unavailable):
    """The address is in use or may not be bound."""

    code = "port_taken"
    remedy = "Choose another --port, or stop the process that holds it."


class StoreAway(FednError):
    """A store of the reducer did not come back in time, so the session was given up."""

    code = "store_away"
    http = 503
    grpc = "UNAVAILABLE"
    exit_code = 5
    remedy = "See why the store was away; raise store_patience_s if that is usual. Finished rounds are in the trail."


# ── transfers, rounds, tasks ─────────────────────────────────────────────────────────────────────


class TransferFailed(FednError):
    """A blob did not arrive."""

    code = "transfer_failed"
    grpc = "ABORTED"
    exit_code = 5
    remedy = "None needed: transfers are resumed. If it lasts, look at the network."


class TransferStalled(TransferFailed):
    """A transfer made no progress for the allowed time."""

    code = "transfer_stalled"
    grpc = "DEADLINE_EXCEEDED"


class DigestMismatch(TransferFailed):
    """The bytes are not those that were announced."""

    code = "digest_mismatch"
    http = 400
    grpc = "DATA_LOSS"
    remedy = "None needed: the transfer starts again. If it lasts, look at disk and memory."


class RoundFailed(FednError):
    """A round ended without a model."""

    code = "round_failed"
    exit_code = 6
    remedy = "The round's record says what each client reported."


class QuorumNotMet(RoundFailed):
    """Fewer updates came than clients_required."""

    code = "quorum_not_met"
    remedy = "See why clients failed; or lower clients_required, or raise round_timeout."


class EncodingUnsupported(QuorumNotMet):
    """Too few of the connected clients know the session's wire_dtype or compression."""

    code = "encoding_unsupported"
    remedy = "Upgrade FEDn where the clients run, or start the session without the option."


class Stopped(FednError):
    """The session was asked to stop."""

    code = "stopped"
    exit_code = 9
    remedy = "None needed: its finished rounds are in the trail, and the next session goes on from there."


class TaskFailed(FednError):
    """A client could not do what it was asked."""

    code = "task_failed"
    exit_code = 7
    remedy = "The end of the script's stderr is in the round's record."


class EnvironmentFailed(TaskFailed):
    """The virtual environment that the compute package asks for could not be made."""

    code = "environment_failed"
    remedy = "The end of pip's output is in the round's record; correct python_env, or run the client with --no-env."


class EntryPointMissing(TaskFailed):
    """The compute package names no such entry point."""

    code = "entry_point_missing"
    remedy = "Correct entry_points in fedn.yaml, and upload the package again."


class CommandMissing(EntryPointMissing):
    """The command of an entry point, or the script that it names, is not there or cannot be run."""

    code = "command_missing"
    remedy = "Correct the command in fedn.yaml; the script must be in the package, the program on the client."


class EntryPointFailed(TaskFailed):
    """The script ended with an exit code other than 0."""

    code = "entry_point_failed"


class EntryPointKilled(TaskFailed):
    """The script was killed by a signal, and once more when it was run again."""

    code = "entry_point_killed"
    remedy = "Often memory: look for the kernel's out-of-memory killer on the client."


class TaskTimeout(TaskFailed):
    """The script ran past its time limit and was stopped."""

    code = "task_timeout"
    remedy = "Raise round_timeout, or give the client less to do."


class OutputMissing(TaskFailed):
    """The script ended well but wrote no output."""

    code = "output_missing"
    remedy = "train writes <model-out> and <model-out>-metadata; validate writes <metrics-out.json>."


class OutputInvalid(TaskFailed):
    """What the script wrote is not what was asked."""

    code = "output_invalid"
    remedy = "Save with fedn.model.helpers; metrics are a JSON object of numbers."


class ClientLost(TaskFailed):
    """The client went away during its task and did not come back in time."""

    code = "client_lost"
    remedy = "None needed: it gets work again when it is back."


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────


class TrailBroken(FednError):
    """The model trail does not verify."""

    code = "trail_broken"
    exit_code = 8
    remedy = "The reason names the first record or blob that does not hold; restore it from a backup."


class BlobCorrupt(FednError):
    """A stored blob does not match its digest."""

    code = "blob_corrupt"
    exit_code = 8
    grpc = "DATA_LOSS"
    remedy = "Restore the blob from a backup, and check the disk."


class FolderUnusable(FednError):
    """A folder cannot be made or written."""

    code = "folder_unusable"
    exit_code = 2
    remedy = "Choose another --dir, or correct its permissions."


def cannot_write(reason: str, error: OSError) -> FednError:
    """The error for what the system said of a file or folder that is our own: DiskFull, or FolderUnusable."""
    why = f"{reason}: {error.strerror or error}"
    return DiskFull(why) if no_room(error) else FolderUnusable(why)


def no_room(error: OSError) -> bool:
    """Whether a disk, or the quota on it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class Interrupted(FednError):
    """Stopped by the user."""

    code = "interrupted"
    exit_code = 130
    remedy = "None needed."
