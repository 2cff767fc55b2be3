"""Files as a person would expect to see them: every pixel value here is known beforehand."""

import io

import numpy as np
import pytest
from PIL import Image

from kurabe.data.decoding import decode, to_uint8

F = np.array(
    [[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 120], [130, 140, 150, 160]], np.uint8
)


def stored(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes, size: int = 4) -> np.ndarray:
    return to_uint8([decode(content, size)])[0]


# EXIF 2.32, tag Orientation: where row 0 and column 0 of the stored array belong.
TURNS = {
    1: F,
    2: F[:, ::-1],
    3: F[::-1, ::-1],
    4: F[::-1],
    5: F.T,
    6: np.rot90(F, -1),
    7: np.rot90(F, -1)[:, ::-1][::-1, ::-1].T[::-1, ::-1].T,
    8: np.rot90(F),
}
TURNS[7] = F[::-1, ::-1].T


@pytest.mark.parametrize("orientation", sorted(TURNS))
def test_exif_orientation_is_carried_out(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(stored(Image.fromarray(F), exif=exif), 4)
    np.testing.assert_array_equal(decoded.pixels[..., 0], TURNS[orientation])
    assert ("turned as its EXIF says" in decoded.treated) == (orientation != 1)


def test_sixteen_bits_keep_their_gradient():
    """v = 257 k over the whole range of 16 bits is k in 8 bits, since 65535 = 257 · 255."""
    k = np.arange(256, dtype=np.uint16).reshape(16, 16)
    content = stored(Image.fromarray(k * 257))
    np.testing.assert_array_equal(pixels(content, 16), np.repeat(k[..., None], 3, axis=2))


def test_twelve_bits_in_sixteen_are_not_black_and_share_one_scale():
    bright = np.full((4, 4), 4095, np.uint16)
    dim = np.full((4, 4), 1000, np.uint16)
    both = to_uint8([decode(stored(Image.fromarray(x)), 4) for x in (bright, dim)])
    assert both[0].min() == both[0].max() == 255
    assert both[1].min() == both[1].max() == round(1000 * 255 / 4095)


def test_floating_point_from_nought_to_one():
    content = stored(Image.fromarray(np.full((4, 4), 0.2, np.float32)), "TIFF")
    assert np.unique(pixels(content)).tolist() == [51]


def test_alpha_is_laid_over_white():
    """p = a c + (1 − a) 255 with a = A/255: (0, 100, 200) at A = 51 is (204, 224, 244)."""
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (0, 100, 200, 51)
    rgba[2:] = (9, 9, 9, 0)
    seen = pixels(stored(Image.fromarray(rgba)))
    assert seen[0, 0].tolist() == [204, 224, 244]
    assert seen[3, 3].tolist() == [255, 255, 255]


def test_grey_with_alpha_and_a_transparent_colour():
    la = np.stack([np.full((4, 4), 100, np.uint8), np.full((4, 4), 51, np.uint8)], -1)
    assert np.unique(pixels(stored(Image.fromarray(la)))).tolist() == [224]
    see_through = stored(Image.fromarray(F), transparency=10)
    assert pixels(see_through)[0, 0].tolist() == [255, 255, 255]
    assert pixels(see_through)[0, 1].tolist() == [20, 20, 20]


def test_a_palette_gives_its_colours():
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 128, 255])
    seen = pixels(stored(image), 2)
    assert seen.tolist() == [[[255, 0, 0], [0, 128, 255]], [[0, 128, 255], [255, 0, 0]]]


def test_cmyk_gives_the_colours_of_its_inks():
    """Without ink white; full cyan takes the red away; black takes all."""
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[1, :, 0] = 255
    inks[2, :, 3] = 255
    seen = pixels(stored(Image.fromarray(inks, "CMYK"), "TIFF"))
    assert seen[0, 0].tolist() == [255, 255, 255]
    assert seen[1, 0].tolist() == [0, 255, 255]
    assert seen[2, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = stored(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    decoded = decode(content, 8)
    assert np.unique(decoded.pixels.reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]
    assert "first of several frames" in decoded.treated


def test_one_bit_is_black_and_white():
    image = Image.fromarray(np.array([[True, False], [False, True]]))
    assert pixels(stored(image), 2)[..., 0].tolist() == [[255, 0], [0, 255]]


def test_the_middle_square_is_kept():
    wide = np.zeros((4, 10), np.uint8)
    wide[:, 3:7] = F
    np.testing.assert_array_equal(pixels(stored(Image.fromarray(wide)))[..., 0], F)
    np.testing.assert_array_equal(pixels(stored(Image.fromarray(wide.T)))[..., 0], F.T)


def test_shrinking_keeps_the_mean_and_draws_no_stripes():
    """Columns 0, 255, 0, 255 … shrink to their mean 127.5, where a picked pixel would be 0."""
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    seen = pixels(stored(Image.fromarray(stripes)), 8)
    assert abs(seen[:, 1:-1].astype(float) - 127.5).max() <= 1.5


def test_a_large_jpeg_is_read_reduced_but_alike():
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    image = Image.fromarray(np.tile(ramp, (1024, 1)))
    seen = pixels(stored(image, "JPEG", quality=95), 16)[..., 0].astype(float)
    expected = ramp.reshape(16, 64).mean(axis=1)
    assert abs(seen - expected).max() < 2.5


def test_one_odd_pixel_does_not_set_the_scale_of_floating_point_images():
    values = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (40, 1))
    odd = values.copy()
    odd[0, 0] = 1.02
    both = to_uint8([decode(stored(Image.fromarray(x), "TIFF"), 40) for x in (values, odd)])
    ramp = np.rint(np.linspace(0, 1, 40) * 255)
    np.testing.assert_array_equal(both[:, 20, :, 0], [ramp, ramp])
    assert both[1, 0, 0, 0] == 255


def test_integers_beyond_16_bits_are_scaled_to_their_own_peak():
    values = np.tile(np.linspace(0, 99_450, 40).astype(np.int32), (40, 1))
    row = to_uint8([decode(stored(Image.fromarray(values), "TIFF"), 40)])[0, 20, :, 0]
    np.testing.assert_array_equal(row, np.rint(values[0] * (255 / 99_450)))


def test_white_is_zero_in_16_bits_is_no_negative():
    ramp = np.tile(np.arange(0, 65536, 1680, dtype=np.uint16), (40, 1))[:, :40]
    content = stored(Image.fromarray(65535 - ramp), "TIFF")
    entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"  # tag 262, one short
    assert content.count(entry + b"\x01") == 1
    turned = content.replace(entry + b"\x01", entry + b"\x00")
    row = to_uint8([decode(turned, 40)])[0, 20, :, 0]
    np.testing.assert_array_equal(row, np.rint(ramp[0] * (255 / 65535)))
