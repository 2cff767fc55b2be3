"""Files as a person would expect to see them: every pixel value here is known beforehand."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from kurabe.data.decoding import Decoded, UnreadableError, decode
from kurabe.data.reading import Canvas

F = np.array(
    [[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 120], [130, 140, 150, 160]], np.uint8
)


def stored(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def to_uint8(images: list[Decoded]) -> np.ndarray:
    canvas = Canvas(len(images[0].pixels))
    for image in images:
        canvas.add(image)
    return canvas.pixels()


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


def deep_set(*arrays: np.ndarray) -> np.ndarray:
    side = arrays[0].shape[0]
    return to_uint8([decode(stored(Image.fromarray(x), "TIFF"), side) for x in arrays])[..., 0]


@pytest.mark.parametrize(("kind", "full"), [(np.float32, 1), (np.int32, 255), (np.int32, 99_450)])
def test_a_few_odd_pixels_of_one_file_do_not_set_the_scale_of_the_set(kind, full):
    """Eight of 9,600 pixels: less than a thousandth of the set, but more of their own image."""
    ramp = np.tile(np.linspace(0, full, 40), (40, 1)).astype(kind)
    odd = ramp.copy()
    odd[0, :8] = full * 2
    seen = deep_set(*[ramp] * 5, odd)
    expected = np.rint(ramp * (255 / full))
    np.testing.assert_array_equal(seen[:5], [expected] * 5)
    np.testing.assert_array_equal(seen[5, 1:], expected[1:])
    assert (seen[5, 0, :8] == 255).all()


def test_a_bright_image_among_many_dim_ones_keeps_its_drawing():
    bright = np.tile(np.linspace(0, 4000, 40), (40, 1)).astype(np.uint16)
    seen = deep_set(*[bright // 8] * 30, bright)
    np.testing.assert_array_equal(seen[30], np.rint(bright * (255 / 4095)))


def test_floating_point_and_whole_numbers_have_each_their_own_scale():
    floating, whole = np.full((4, 4), 0.4, np.float32), np.full((4, 4), 26214, np.uint16)
    np.testing.assert_array_equal(deep_set(floating, whole), np.full((2, 4, 4), 102))


def test_pixels_without_a_value_are_few_and_black_or_the_file_is_named():
    values = np.full((20, 20), 0.5, np.float32)
    values[3, :4] = np.nan, np.inf, -np.inf, np.nan
    decoded = decode(stored(Image.fromarray(values), "TIFF"), 20)
    assert "a few pixels no finite number (NaN, infinite) made black" in decoded.treated
    seen = to_uint8([decoded])[0, ..., 0]
    assert seen[3, :4].tolist() == [0] * 4 and np.unique(seen[4:]).tolist() == [128]
    values[0, :] = np.nan
    with pytest.raises(UnreadableError, match=r"has 24 of 400 pixels that are no finite number"):
        decode(stored(Image.fromarray(values), "TIFF"), 20)
    below = np.full((20, 20), -5, np.int32)
    with pytest.raises(UnreadableError, match=r"has 400 of 400 pixels that are below 0"):
        decode(stored(Image.fromarray(below), "TIFF"), 20)


def tiff(values: np.ndarray, bits: int, photometric: int, form: int) -> bytes:
    """A TIFF 6.0 file of one strip, rows packed to `bits`; form: tag 339 (1 whole, 3 floating)."""
    if bits < 8:
        planes = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        data = np.packbits(planes.reshape(len(values), -1), axis=1).tobytes()
    else:
        data = values.tobytes()
    high, wide = values.shape
    tags = [
        (256, 3, wide), (257, 3, high), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, high), (279, 4, len(data)), (339, 3, form),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4


@pytest.mark.parametrize(
    ("bits", "kind"),
    [(1, "u1"), (2, "u1"), (4, "u1"), (8, "u1"), (16, "<u2"), (32, "<f4")],
)
def test_white_is_zero_is_followed_at_every_depth(bits, kind):
    """Tag 262 of TIFF 6.0: 0 means that 0 is white and the greatest value black."""
    most = 1 if kind == "<f4" else 2**bits - 1
    ramp = np.tile(np.linspace(0, 1, 16), (16, 1))
    values = (ramp * most).astype(kind) if kind == "<f4" else np.rint(ramp * most).astype(kind)
    form = 3 if kind == "<f4" else 1
    black = pixels(tiff(values, bits, 1, form), 16)
    white = pixels(tiff((most - values).astype(kind), bits, 0, form), 16)
    np.testing.assert_array_equal(black, white)
    assert black[0, 0, 0] == 0 and black[0, -1, 0] == 255


def test_whole_numbers_of_32_bits_have_no_sign_where_the_file_says_so():
    """Fault: what lay beyond 2³¹ came out below 0, and the file was refused."""
    ramp = np.tile(np.linspace(0, 2**32 - 1, 16), (16, 1)).astype("<u4")
    drawn = pixels(tiff(ramp, 32, 1, 1), 16)[0, :, 0]
    np.testing.assert_array_equal(drawn, np.rint(np.linspace(0, 255, 16)))


def grey_profile(gamma: float) -> bytes:
    """An ICC 2.1 profile of grey with one curve."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    return icc(b"GRAY", {b"wtpt": white, b"kTRC": curve})


def wide_profile() -> bytes:
    """An ICC 2.1 profile of matrix and curve: the primaries of Adobe RGB, gamma 2.2."""

    def numbers(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(x * 65536)) for x in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563) + b"\0\0"
    points = {
        b"wtpt": (0.9642, 1, 0.8249), b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087), b"bXYZ": (0.14919, 0.06322, 0.74457),
    }  # fmt: skip
    tags = {name: b"XYZ \0\0\0\0" + numbers(*xyz) for name, xyz in points.items()}
    return icc(b"RGB ", tags | {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def icc(space: bytes, own: dict[bytes, bytes]) -> bytes:
    """A display profile with these tags, laid out as ICC.1 says."""
    text = b"made\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 79
    tags = {b"desc": described, b"cprt": b"text\0\0\0\0none\0\0\0\0", **own}
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, at, len(value))
        body, at = body + value, at + len(value)
    head = struct.pack(
        ">I4sI4s4s4s6H4s", at, b"lcms", 0x02100000, b"mntr", space, b"XYZ ", 2026, 1, 1, 0, 0, 0,
        b"acsp",
    )  # fmt: skip
    white = struct.pack(">iii", 63190, 65536, 54061)
    head += b"\0" * 28 + white + b"\0" * 48
    return head + struct.pack(">I", len(tags)) + table + body


def test_a_profile_of_grey_gives_grey():
    """Y = v/255, then the curve of sRGB (IEC 61966-2-1): 12.92 Y or 1.055 Y^(1/2.4) − 0.055."""
    v = np.arange(0, 256, 16, dtype=np.uint8).reshape(4, 4)
    decoded = decode(stored(Image.fromarray(v), icc_profile=grey_profile(1.0)), 4)
    y = v / 255
    expected = 255 * np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)
    assert np.ptp(decoded.pixels, axis=2).max() == 0
    np.testing.assert_allclose(decoded.pixels[..., 0], expected, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_a_wide_profile_are_those_of_a_viewer(kind, mode):
    """(80, 200, 60) of Adobe RGB is (0, 201, 37) in sRGB: by hand from the two matrices."""
    image = Image.new(mode, (4, 4), (80, 200, 60))
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(stored(image, kind, icc_profile=wide_profile(), **options), 4)
    assert np.abs(decoded.pixels[1, 1].astype(int) - (0, 201, 37)).max() <= 1
    assert "colour profile converted to sRGB" in decoded.treated


def test_srgb_stays_and_a_broken_profile_is_said():
    image = Image.new("RGB", (4, 4), (80, 200, 60))
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, said in (
        (same, ()),
        (b"junk" * 40, ("colour profile that cannot be used, colours as stored",)),
    ):
        decoded = decode(stored(image, icc_profile=profile), 4)
        assert decoded.treated == said
        assert decoded.pixels[1, 1].tolist() == [80, 200, 60]


@pytest.mark.parametrize(
    ("peak", "full"), [(1.0000001, 1), (1.08, 1), (1.5, 1.5), (3.0, 3), (240.0, 255), (256.0, 255)]
)
def test_floats_that_go_a_little_beyond_one_are_not_taken_for_bytes(peak, full):
    ramp = np.tile(np.linspace(0, peak, 40, dtype=np.float32), (40, 1))
    expected = np.clip(np.rint(ramp * (255 / np.float32(full))), 0, 255)
    np.testing.assert_allclose(deep_set(ramp)[0], expected, atol=1)
