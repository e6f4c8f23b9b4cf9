"""Every kind of picture is rendered under a limit of exactly its own estimate."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.model import Fingerprint, Limits, Rendered, RenderFailed, RenderTask
from procwatch.pool.ports import WorkerEntry
from procwatch.worker import entry, sandbox
from procwatch.worker.limits import MemoryBounds
from tests.support.pool_bench import PoolBench

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SIZE = (3600, 2600)
GIB = 1024**3


def noise() -> Image.Image:
    return Image.effect_noise((SIZE[0] // 8, SIZE[1] // 8), 40).resize(SIZE)


def kinds() -> dict[str, tuple[Image.Image, str, dict[str, Any]]]:
    grey = noise()
    rgb = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT), grey))
    rgba = rgb.copy()
    rgba.putalpha(grey)
    palette = rgb.quantize(64, method=Image.Quantize.FASTOCTREE)
    fast = {"compress_level": 1}
    return {
        "baseline": (rgb, "JPEG", {}),
        "progressive": (rgb, "JPEG", {"progressive": True, "subsampling": 0}),
        "cmyk-progressive": (rgb.convert("CMYK"), "JPEG", {"progressive": True}),
        "png": (rgb, "PNG", fast),
        "png-rgba": (rgba, "PNG", fast),
        "png-palette-keyed": (palette, "PNG", fast | {"transparency": 3}),
        "png-la": (rgba.convert("LA"), "PNG", fast),
        "png-16": (grey.convert("I;16"), "PNG", fast),
        "png-16-keyed": (grey.convert("I;16"), "PNG", fast | {"transparency": 300}),
        "webp": (rgb, "WEBP", {"method": 0}),
        "webp-rgba-lossless": (rgba, "WEBP", {"method": 0, "lossless": True, "quality": 0}),
        "gif": (palette, "GIF", {}),
        "tiff-deflate": (rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff-cmyk-lzw": (rgb.convert("CMYK"), "TIFF", {"compression": "tiff_lzw"}),
        "tiff-float": (grey.convert("F"), "TIFF", {}),
        "bmp": (rgb, "BMP", {}),
        "avif": (rgb, "AVIF", {"speed": 10}),
        "avif-rgba": (rgba, "AVIF", {"speed": 10}),
    }


def task(root: Path, path: Path, attempt: int, grant_bytes: int) -> RenderTask:
    return RenderTask(
        job=path.stem.replace("-", ""),  # ids have no more than letters and digits
        attempt=attempt,
        root=str(root),
        path=path.name,
        fingerprint=Fingerprint.of(path.stat()),
        recipe=BUILTIN_RECIPES["web"],
        staging_root=str(root / "staging"),
        limits=Limits(),
        grant_bytes=grant_bytes,
    )


def test_the_estimate_is_enough_for_every_kind_of_picture(tmp_path: Path) -> None:
    (tmp_path / "staging" / "slot-1").mkdir(parents=True)
    bounds = MemoryBounds(budget_bytes=2 * GIB, grant_bytes=64 * 1024**2)  # too little for any of them
    worker = WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=entry.run,
        canary=entry.canary,
        start_args=((BUILTIN_RECIPES["web"],), sandbox.OFF, bounds),
        preload=entry.PRELOAD,
    )
    failed: dict[str, object] = {}
    with PoolBench(tmp_path, workers=1, entry=worker, recycle_after_jobs=1) as bench:
        for name, (picture, image_format, options) in kinds().items():
            buffer = io.BytesIO()
            picture.save(buffer, image_format, **options)
            path = tmp_path / f"{name}.img"
            path.write_bytes(buffer.getvalue())
            first = bench.ready().pool.submit(task(tmp_path, path, 1, 0))
            bench.until(first.done)
            deferred = first.result().result
            assert isinstance(deferred, RenderFailed), name
            assert deferred.code == "deferred", (name, deferred)
            second = bench.ready().pool.submit(task(tmp_path, path, 2, int(deferred.reason)))
            bench.until(second.done)
            report = second.result()
            if not isinstance(report.result, Rendered):
                failed[name] = report
    assert not failed
