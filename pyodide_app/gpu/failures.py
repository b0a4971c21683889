"""What the browser's GPU reports, as the exceptions of `errors`."""

from __future__ import annotations

from dataclasses import dataclass

from pyodide_app import errors

LOAD_AGAIN = "Load the model again."
LOST_AGAIN = (
    f"{LOAD_AGAIN} It was lost before: if that goes on, choose a shorter context or a "
    "smaller model, for its memory may not be enough, and restart the browser."
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What one kind of failure is to people; `{}` in `what` is the thing it hit."""

    error: type[errors.DeviceError]
    what: str
    expected: str = ""
    remedy: str = ""


# By the name that web/engine/faults.js gives the JavaScript Error.
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
}


def as_error(name: str, message: str, thing: str) -> errors.DeviceError:
    """Return the exception for a JavaScript Error, known or not."""
    failure = FAILURES.get(name)
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
