"""Time a codec's analysis and synthesis of one image, compiled and in bfloat16.

gpu_codec.py [cuda|cpu] [preset] [side]. On a GPU any wait for it inside the two is an error.
"""

import sys
from statistics import median
from time import perf_counter

import torch

from linksim.codec_lookup import codec_from_settings
from linksim.settings import CodecSettings

device, preset, side = (*sys.argv[1:4], *("cuda", "paper", "256")[len(sys.argv) - 1 :])
on_gpu = device == "cuda"
images = torch.rand(1, 3, int(side), int(side), device=device)
snr_db = torch.full((1,), 10.0, device=device)


def milliseconds(name: str) -> float:
    codec = codec_from_settings(CodecSettings(codec=name, preset=preset)).to(device).eval()
    analysis, synthesis = codec.analysis, codec.synthesis
    if on_gpu:
        mode = "reduce-overhead"
        analysis, synthesis = (torch.compile(f, mode=mode) for f in (analysis, synthesis))
    times = []
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        for turn in range(30 if on_gpu else 2):
            watch = on_gpu and turn > 5
            torch.cuda.synchronize() if on_gpu else None
            torch.cuda.set_sync_debug_mode("error") if watch else None
            start = perf_counter()
            synthesis(analysis(images, snr_db).clone(), snr_db)
            torch.cuda.set_sync_debug_mode("default") if watch else None
            torch.cuda.synchronize() if on_gpu else None
            times.append(1e3 * (perf_counter() - start))
    return median(times[len(times) // 2 :])


ours, theirs = milliseconds("mambajscc"), milliseconds("swinjscc")
print(f"mambajscc {ours:.2f} ms, swinjscc {theirs:.2f} ms, ratio {ours / theirs:.2f}")
