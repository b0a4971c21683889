"""What a GPU reports, in a browser and natively, as the exceptions of `errors`."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app import errors
from pyodide_app.graph.plan import Buffer

LOAD_AGAIN = "Load the model again."
LOST_AGAIN = (
    f"{LOAD_AGAIN} It was lost before: if that goes on, choose a shorter context or a "
    "smaller model, for its memory may not be enough, and restart {}."
)
CLOSED = "the device was closed"  # why it is lost to who goes on using it


@dataclass(frozen=True, slots=True)
class Failure:
    """What one kind of failure is to people; `{}` in `what` is the thing it hit."""

    error: type[errors.DeviceError]
    what: str
    expected: str = ""
    remedy: str = ""


# By the kind: the name that web/engine/faults.js gives the JavaScript Error, and that
# `gpu.wgpu_faults` gives to what wgpu raises.
FAILURES = {
    "WebGPUMissing": Failure(
        errors.DeviceMissingError,
        "this browser offers no WebGPU here",
        "navigator.gpu",
        "Use Chrome or Edge 113, Safari 26, Firefox 141 or newer, over https or on "
        "localhost. On Linux, switch it on: “Unsafe WebGPU Support” and “Vulkan” in "
        "chrome://flags; dom.webgpu.enabled and dom.webgpu.workers.enabled in "
        "about:config.",
    ),
    "AdapterMissing": Failure(
        errors.DeviceMissingError,
        "the browser offers no GPU adapter",
        "an adapter",
        "Switch hardware acceleration on in the browser's settings, update the "
        "graphics driver and restart the browser; chrome://gpu says what is blocked.",
    ),
    # Chromium gives none once its GPU process has crashed twice, whatever a page does.
    "AdapterGone": Failure(
        errors.DeviceMissingError,
        "the browser offers no GPU adapter any more",
        "an adapter, as there was before",
        "Copy what you want to keep of the conversation, then quit the browser and "
        "start it again: once the GPU has failed a few times, pages are kept from it "
        "until then. If its memory was not enough, choose a shorter context or a "
        "smaller model afterwards. If there is still none, switch hardware "
        "acceleration on in the browser's settings and update the graphics driver.",
    ),
    "DeviceRefused": Failure(
        errors.DeviceMissingError,
        "the GPU adapter gives no device",
        remedy="Close other pages that use the GPU, then restart the browser.",
    ),
    "DeviceLost": Failure(
        errors.DeviceLostError, "the GPU device was lost", remedy=LOAD_AGAIN
    ),
    "OutOfMemory": Failure(
        errors.DeviceMemoryError,
        "the GPU has no memory left for {}",
        remedy="Close other programs that use the GPU, choose a shorter context or a "
        "smaller model, and load the model again.",
    ),
    "ShaderCompile": Failure(errors.ShaderCompileError, "shader {} was rejected"),
    "Validation": Failure(errors.DeviceError, "the GPU refused {}", remedy=LOAD_AGAIN),
    "Internal": Failure(errors.DeviceError, "the GPU failed at {}", remedy=LOAD_AGAIN),
}
# Of these, what is said in other words where there is no browser.
_NATIVELY = {
    "AdapterMissing": Failure(
        errors.DeviceMissingError,
        "no GPU adapter {}",
        "a Vulkan, Metal or Direct3D 12 driver",
        "Install one (on Debian, mesa-vulkan-drivers runs on the CPU).",
    ),
    "DeviceRefused": Failure(
        errors.DeviceMissingError,
        "the GPU adapter gives no device",
        "WebGPU's default limits, and memory for a device",
        "Close other programs that use the GPU, update its driver, or choose another "
        "adapter with --adapter.",
    ),
}


def as_error(
    name: str, message: str, thing: str = "", *, natively: bool = False
) -> errors.DeviceError:
    """Return the exception for a kind of failure, known or not."""
    failure = (_NATIVELY.get(name) if natively else None) or FAILURES.get(name)
    if failure is None:
        return errors.DeviceError(
            "the GPU failed", found=f"{name}: {message}", remedy=LOAD_AGAIN
        )
    return failure.error(
        failure.what.format(thing or "what it was asked to do"),
        found=message,
        expected=failure.expected,
        remedy=failure.remedy,
    )


def lost(message: str, times: int, restart: str) -> errors.DeviceLostError:
    """Return the exception for a device that was lost, for the nth time.

    `restart` is what helps where losing it goes on: the browser, or the machine.
    """
    again = LOST_AGAIN.format(restart)
    remedy = again if times > 1 else LOAD_AGAIN
    what = FAILURES["DeviceLost"].what
    return errors.DeviceLostError(what, found=message, remedy=remedy)


def refuse_larger(buffer: Buffer, most: int) -> None:
    """Raise DeviceLimitError for a buffer of more than `most` bytes."""
    if buffer.size > most:
        raise errors.DeviceLimitError(
            f"buffer {buffer.label}",
            found=f"{buffer.size} bytes",
            expected=f"at most {most} bytes",
            remedy="Choose a shorter context or a smaller model.",
        )
