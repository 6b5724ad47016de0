"""DeepJSCC as Deep-JSCC-PyTorch (chunbaobao) reproduces it."""

from torch import Tensor

from linksim.importing.tensors import Converted, Source


def convert(source: Source) -> Converted:
    """Renames; the latent comes at half of that code's power, which the first layer undoes."""
    state: dict[str, Tensor] = {}
    for i in range(5):
        state |= source.layer(f"encoder.conv{i + 1}.conv", f"encoder.{2 * i}")
        state |= source.layer(f"encoder.conv{i + 1}.prelu", f"encoder.{2 * i + 1}")
        state |= source.layer(f"decoder.tconv{i + 1}.transconv", f"decoder.{2 * i}")
        if i < 4:
            state |= source.layer(f"decoder.tconv{i + 1}.activate", f"decoder.{2 * i + 1}")
    state["decoder.0.weight"] = 2**0.5 * state["decoder.0.weight"]
    return Converted(
        options={"latent_channels": source.take("encoder.conv5.conv.weight", axes=4).shape[0]},
        state=state,
        superfluous=(r"(?!encoder\.|decoder\.).*",),
        conventions=(
            "not the authors' code but a reproduction of it",
            "SNR: its 'snr' is 3.01 dB below Es/N0: trained for 7 dB there is 10.01 dB here",
            "CBR: latent channels / 96; its 'ratio' counts real values: twice the CBR",
        ),
        lost=("its Rayleigh fading has no counterpart here",),
    )
