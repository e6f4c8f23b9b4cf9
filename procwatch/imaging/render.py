"""Rendering one file: one decode, one resample an output, encode, write into staging."""

import functools
import os
from collections.abc import Callable, Iterable
from typing import BinaryIO

from PIL import Image

from procwatch.errors import ImageError
from procwatch.imaging import memory, sniff
from procwatch.imaging import plan as planner
from procwatch.imaging.codecs import Codec, codec_for
from procwatch.imaging.color import drop_opaque_alpha, may_be_transparent, to_resampleable, to_srgb
from procwatch.imaging.decode import Header, load_pixels, load_plugins, open_header
from procwatch.imaging.encode import encode
from procwatch.imaging.estimate import READ_WHOLE, Source, estimate_bytes
from procwatch.imaging.geometry import Box, Geometry
from procwatch.imaging.metadata import stored_box, turn_upright, upright_size
from procwatch.imaging.operation import GeometryOperation, with_defaults
from procwatch.imaging.operations import OPERATIONS
from procwatch.imaging.recipe import Output, Recipe, ResamplerChoice, Step
from procwatch.imaging.resample import Resampler
from procwatch.model import Limits, Rendered, Staged, inode_of
from procwatch.writeback import begin_writeback


def render(
    source: BinaryIO,
    recipe: Recipe,
    limits: Limits,
    staging: str,
    *,
    prefix: str = "",
    mode: int = 0o600,
    admit: Callable[[int], None] = lambda needed_bytes: None,
    stage: Callable[[str], None] = lambda name: None,
    resampler: Resampler | None = None,
) -> Rendered:
    """Make every output of the recipe in the folder `staging`, named by the output's index: "0.jpg", "1.webp".

    `prefix` comes before each name, for callers whose folder is not theirs alone. `mode` is that of the new files,
    as far as the umask lets it through.
    `admit` gets the bytes that it will take, before anything is decoded, and may raise to prevent it.
    `stage` is told what begins: decode, transform, encode, write. `resampler` is for callers with threads: the
    process's own must not be used by two at a time.
    Raises ImageError for what is wrong with the file, and OSError, untouched, for what is wrong with the folder.
    """
    stage("decode")
    try:
        opening_bytes = _opening_bytes(source, recipe, limits)
        if opening_bytes:
            admit(opening_bytes)
        header = open_header(source, recipe.formats, limits)
    except MemoryError:
        raise ImageError("out-of-memory", "opening needed more memory than a worker may use") from None
    with header.image:
        try:
            return _render(
                header,
                source,
                recipe,
                limits,
                os.path.join(staging, prefix),
                mode=mode,
                admit=admit,
                stage=stage,
                resampler=resampler,
            )
        except MemoryError:
            raise ImageError("out-of-memory", "rendering needed more memory than a worker may use") from None


def _render(
    header: Header,
    source: BinaryIO,
    recipe: Recipe,
    limits: Limits,
    staging: str,
    *,
    mode: int,
    admit: Callable[[int], None],
    stage: Callable[[str], None],
    resampler: Resampler | None,
) -> Rendered:
    plan = planner.plan(recipe.outputs, header.size, can_draft=header.format in {"JPEG", "MPO"})
    needed_bytes = _needed_bytes(header, source, recipe, plan)
    admit(needed_bytes)
    memory.reuse_heap(needed_bytes)
    scale = load_pixels(header, source, recipe.formats, limits, draft=plan.draft)
    stage("transform")
    work = _Work(header, _resampleable(header), scale, resampler or resampler_for(recipe.resampler))
    pictures: dict[int, Image.Image] = {}
    staged: dict[int, Staged] = {}
    geometries = {task.index: task.geometry for task in plan.tasks}
    for task in plan.tasks:
        if task.parent is None:
            picture = work.from_source(task.geometry)
        else:
            box = planner.relative_box(task.geometry.box, geometries[task.parent])
            picture = work.resampler.resample(pictures[task.parent], box, task.geometry.size)
        picture = drop_opaque_alpha(picture)  # a part of a transparent picture may be opaque
        pictures[task.index] = picture
        output = recipe.outputs[task.index]
        finished = _rest(picture, task.rest, work.resampler)
        staged[task.index] = _stage(finished, task.index, output, staging, stage, mode=mode)
        stage("transform")
    return Rendered(
        renditions=tuple(staged[index] for index in sorted(staged)),
        width=header.size[0],
        height=header.size[1],
        format=header.format,
        frames=header.frames,
        notes={"profile": work.profile_note} if work.profile_note else {},
    )


def _opening_bytes(source: BinaryIO, recipe: Recipe, limits: Limits) -> int:
    """Return what merely opening the file takes where that is much: libwebp makes its canvas then."""
    prefix = source.read(sniff.PREFIX_BYTES)
    file_bytes = source.seek(0, os.SEEK_END)
    source.seek(0)
    kind = sniff.kind_of(prefix)
    if kind not in READ_WHOLE or kind not in recipe.formats or file_bytes > limits.max_bytes:
        return 0
    canvas = (sniff.webp_canvas(prefix) if kind == "WEBP" else None) or (0, 0)
    pixels = canvas[0] * canvas[1]
    if pixels > limits.max_pixels:
        return 0  # open_header() says so
    known = Source(format=kind, mode="RGBA", size=canvas, has_alpha=True, file_bytes=file_bytes)
    # With all its outputs, so that a job is not told twice, each time of more.
    tasks = planner.plan(recipe.outputs, canvas, can_draft=False).tasks if pixels else ()
    outputs = [(task.geometry.size, recipe.outputs[task.index].format) for task in tasks]
    return estimate_bytes(known, draft=1, outputs=outputs)


def _needed_bytes(header: Header, source: BinaryIO, recipe: Recipe, plan: planner.Plan) -> int:
    image = header.image
    at = source.tell()
    file_bytes = source.seek(0, os.SEEK_END)
    source.seek(at)
    known = Source(
        format=header.format,
        mode=image.mode,
        size=header.size,
        has_alpha=may_be_transparent(image),
        is_progressive=bool(image.info.get("progressive")),
        file_bytes=file_bytes,
    )
    outputs = [(task.geometry.size, recipe.outputs[task.index].format) for task in plan.tasks]
    return estimate_bytes(known, draft=plan.draft, outputs=outputs)


def _resampleable(header: Header) -> Image.Image:
    try:
        return to_resampleable(header.image)
    except ValueError as error:
        raise ImageError(
            "unsupported-format", f"{header.format} with {header.image.mode} pixels: {error}"
        ) from error


class _Work:
    """The decoded source of one job and what it takes to make finished pictures from it."""

    def __init__(self, header: Header, pixels: Image.Image, scale: float, resampler: Resampler) -> None:
        self.header = header
        self.pixels = drop_opaque_alpha(pixels)  # spares premultiplying, which takes longer than resampling
        self.scale = scale
        self.resampler = resampler
        self.profile_note = ""

    def from_source(self, geometry: Geometry) -> Image.Image:
        """Shrink first, while the rest is still cheap; then turn upright and convert to sRGB."""
        box = self._decoded_box(geometry.box)
        size = upright_size(geometry.size, self.header.orientation)
        small = self.resampler.resample(self.pixels, box, size)
        upright = turn_upright(small, self.header.orientation)
        picture, note = to_srgb(upright, self.header.profile)
        self.profile_note = self.profile_note or note
        return picture

    def _decoded_box(self, box: Box) -> Box:
        left, top, right, bottom = stored_box(box, self.header.size, self.header.orientation)
        width, height = self.pixels.size
        return (
            max(0.0, left * self.scale),
            max(0.0, top * self.scale),
            min(float(width), right * self.scale),
            min(float(height), bottom * self.scale),
        )


def _rest(picture: Image.Image, steps: Iterable[Step], resampler: Resampler) -> Image.Image:
    """Do the steps from the first pixel operation on, one by one."""
    for step in steps:
        operation = OPERATIONS[step.op]
        values = with_defaults(operation.params, step.params)
        if isinstance(operation, GeometryOperation):
            geometry = operation.apply(Geometry.whole(picture.size), values)
            picture = resampler.resample(picture, geometry.box, geometry.size)
        else:
            picture = operation.apply(picture, values)
    return picture


def _stage(
    picture: Image.Image,
    index: int,
    output: Output,
    staging: str,
    stage: Callable[[str], None],
    *,
    mode: int,
) -> Staged:
    codec: Codec = codec_for(output.format, has_alpha=picture.mode == "RGBA", size=picture.size)
    path = f"{staging}{index}.{codec.ext}"
    stage("encode")
    data = encode(picture, output, codec)
    stage("write")
    return Staged(
        output=output.name,
        file=os.path.basename(path),
        ext=codec.ext,
        width=picture.width,
        height=picture.height,
        size=len(data),
        inode=_write(path, data, mode),
    )


def _write(path: str, data: bytes, mode: int) -> int:
    """Write a new file and return its inode. The daemon fsyncs it before it publishes it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        begin_writeback(descriptor)
        return inode_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)


@functools.lru_cache(maxsize=3)
def resampler_for(wanted: ResamplerChoice) -> Resampler:
    """Return the process's resampler, checked against Pillow once."""
    return Resampler(wanted)


def warm_up(recipes: Iterable[Recipe]) -> dict[str, str]:
    """Import and try, once in a worker and before it locks itself up, all that the recipes will need.

    Returns notes: `resampler` is "simd" or "pillow", `resampler_note` says why where "simd" could have been.
    """
    notes: dict[str, str] = {}
    memory.prepare()
    for recipe in recipes:
        load_plugins(recipe.formats)
        resampler = resampler_for(recipe.resampler)
        notes["resampler"] = resampler.engine
        if resampler.note:
            notes["resampler_note"] = resampler.note
        for output in recipe.outputs:
            _try_encoder(output)
    return notes


def _try_encoder(output: Output) -> None:
    for mode in ("RGB", "RGBA"):
        picture = Image.new(mode, (16, 16))
        encode(picture, output, codec_for(output.format, has_alpha=mode == "RGBA", size=picture.size))
