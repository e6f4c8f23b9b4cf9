"""The fields that several events share: one name, one meaning, one unit everywhere."""

from procwatch.errors import ERROR_CODES
from procwatch.model import Original
from procwatch.observe.schema import Field

INBOX = Field(name="inbox", type="string", meaning="name of the inbox", example="inbox")
PATH = Field(
    name="path",
    type="relative path",
    meaning="the dropped file, relative to its inbox; bytes that are not UTF-8 appear as \\udc80 to \\udcff",
    example="2027/IMG_0042.jpg",
)
FOLDER = Field(
    name="path", type="absolute path", meaning="the folder that it is about", example="/srv/photos/inbox"
)
JOB = Field(name="job", type="string", meaning="id of the job; sorts by time", example="0195938a7c15b2d4e6")
WORKER_PID = Field(
    name="worker_pid",
    type="integer",
    nullable=True,
    meaning="process id of the worker; null where none ran",
    example=4102,
)
SLOT = Field(
    name="slot", type="integer", nullable=True, meaning="the worker's place in the pool, from 1", example=1
)
ATTEMPT = Field(
    name="attempt", type="integer", meaning="which run of the job, from 1; 0 where none ran", example=1
)
RECIPE = Field(name="recipe", type="string", meaning="name of the recipe", example="web")
OUTPUTS = Field(
    name="outputs",
    type="relative paths",
    meaning="the published files, relative to the outbox",
    example=["2027/IMG_0042-web.jpg", "2027/IMG_0042-thumb.jpg"],
)
BYTES_IN = Field(
    name="bytes_in", type="integer", unit="bytes", meaning="size of the dropped file", example=4210688
)
BYTES_OUT = Field(
    name="bytes_out", type="integer", unit="bytes", meaning="size of all outputs together", example=391224
)
WAIT_S = Field(
    name="wait_s",
    type="number",
    unit="seconds",
    nullable=True,
    meaning="from noticing the file to the start of this attempt; null where not known",
    example=0.013,
)
RUN_S = Field(
    name="run_s",
    type="number",
    unit="seconds",
    nullable=True,
    meaning="the attempt's run in its worker; null where none ran or a crash lost it",
    example=0.212,
)
ERROR = Field(
    name="error",
    type="string",
    choices=tuple(ERROR_CODES),
    meaning="stable code of what went wrong with the file",
    example="truncated",
)
TROUBLE = Field(
    name="error", type="string", meaning="stable code or errno name of the trouble", example="ENOSPC"
)
REASON = Field(name="reason", type="string", meaning="why, in words for people", example="the disk is full")
HINT = Field(
    name="hint",
    type="string",
    required=False,
    meaning="what to do about it",
    example="chmod g+w the folder, or set on_success to keep",
)
TRACEBACK = Field(
    name="traceback",
    type="string",
    required=False,
    meaning="the Python traceback of an unexpected error",
    example="Traceback (most recent call last): ...",
)
RECOVERED = Field(
    name="recovered",
    type="boolean",
    required=False,
    meaning="true on a line that was written after a crash; it may repeat one with the same job and attempt",
    example=True,
)
ORIGINAL = Field(
    name="original",
    type="string",
    required=False,
    choices=tuple(original.value for original in Original),
    meaning="where the dropped file is now",
    example="archived",
)
MOVED_TO = Field(
    name="moved_to",
    type="absolute path",
    required=False,
    meaning="where the original was moved",
    example="/srv/photos/archive/2027/IMG_0042.jpg",
)
WIDTH = Field(
    name="width",
    type="integer",
    unit="pixels",
    required=False,
    meaning="of the source, upright",
    example=4032,
)
HEIGHT = Field(
    name="height",
    type="integer",
    unit="pixels",
    required=False,
    meaning="of the source, upright",
    example=3024,
)
FORMAT = Field(
    name="format", type="string", required=False, meaning="of the source, by its content", example="JPEG"
)
FRAMES = Field(
    name="frames",
    type="integer",
    unit="frames",
    required=False,
    meaning="frames or pages of the source, where more than one; the first was used",
    example=12,
)
CAUSE = Field(
    name="cause",
    type="string",
    required=False,
    meaning="how the file was noticed: closed, renamed, created or scan",
    example="closed",
)
NOTES = Field(
    name="notes",
    type="object",
    required=False,
    meaning="what the worker reports besides",
    example={"resampler": "simd"},
)
SECONDS = Field(
    name="seconds", type="number", unit="seconds", meaning="how long it took or lasted", example=0.41
)
WORKERS = Field(name="workers", type="integer", unit="processes", meaning="size of the pool", example=8)
CONFIG = Field(
    name="config",
    type="absolute path",
    nullable=True,
    meaning="the configuration file; null where procwatch runs on a folder without one",
    example="/etc/procwatch/procwatch.toml",
)
INBOXES = Field(name="inboxes", type="strings", meaning="names of the inboxes", example=["inbox"])
MODE = Field(
    name="mode",
    type="string",
    choices=("native", "polling"),
    meaning="how the folder is watched",
    example="native",
)
EXIT = Field(
    name="exit",
    type="string",
    meaning="how the process ended: a signal name, exit N, or unknown",
    example="SIGKILL",
)
DELAY_S = Field(
    name="delay_s", type="number", unit="seconds", meaning="until the next attempt may start", example=2.0
)


def count(name: str, meaning: str, example: int, unit: str = "files") -> Field:
    return Field(name=name, type="integer", unit=unit, meaning=meaning, example=example)


def names(name: str, meaning: str, example: str) -> Field:
    return Field(name=name, type="strings", required=False, meaning=meaning, example=[example])
