# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of nobody: series of CT, MR, US and DX made of ellipses.

`series(modality)` returns datasets with pixels and the attributes of their
SOP class (DICOM PS3.3 A.3, A.4, A.7, A.26). Who is in the picture, and
which study it belongs to, is the modality's to add.
"""
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage, DigitalXRayImageStorageForPresentation, MRImageStorage,
    UltrasoundMultiFrameImageStorage)


def blurred(image, sigma):
    """Smooth the last two axes with a Gaussian of sigma pixels."""
    rows, columns = image.shape[-2:]
    y = np.fft.fftfreq(rows)[:, None]
    x = np.fft.rfftfreq(columns)[None, :]
    filter_ = np.exp(-2 * (np.pi * sigma) ** 2 * (x ** 2 + y ** 2))
    return np.fft.irfft2(
        np.fft.rfft2(image) * filter_, s=(rows, columns))


def grid(size):
    """Coordinates from -1 to 1 over a square: x to the right, y down."""
    line = np.linspace(-1, 1, size)
    return np.meshgrid(line, line)


def ellipse(x, y, centre, axes, angle=0):
    """Return where (x, y) lies inside an ellipse."""
    angle = np.deg2rad(angle)
    u, v = x - centre[0], y - centre[1]
    a = u * np.cos(angle) + v * np.sin(angle)
    b = v * np.cos(angle) - u * np.sin(angle)
    return (a / axes[0]) ** 2 + (b / axes[1]) ** 2 < 1


def pixels(dataset, image, bits, signed=False):
    """Put the image into the dataset as one grey channel."""
    allocated = 8 if bits <= 8 else 16
    kind = ('i' if signed else 'u') + str(allocated // 8)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = 'MONOCHROME2'
    dataset.Rows, dataset.Columns = image.shape[-2:]
    dataset.BitsAllocated = allocated
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(signed)
    low, high = (-2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (
        0, 2 ** bits - 1)
    values = np.clip(np.rint(image), low, high)
    dataset.PixelData = values.astype('<' + kind).tobytes()
    dataset['PixelData'].VR = 'OB' if allocated == 8 else 'OW'


def head(x, y, z, random, values):
    """One slice of a head at height z (-1 neck, 1 crown).

    `values` are those of air, skin, bone, fluid, white and grey matter, and
    lesion.
    """
    air, skin, bone, fluid, white, grey, lesion = values
    width = .78 * np.sqrt(max(0, 1 - (.82 * z) ** 2))
    height = .92 * np.sqrt(max(0, 1 - (.82 * z) ** 2))
    image = np.full(x.shape, float(air))
    image[ellipse(x, y, (0, 0), (width, height))] = skin
    image[ellipse(x, y, (0, 0), (width * .95, height * .96))] = bone
    brain = ellipse(x, y, (0, 0), (width * .86, height * .89))
    image[brain] = fluid
    folds = .012 * np.sin(18 * np.arctan2(y, x) + 5 * z)
    inner = (x / (width * .83)) ** 2 + (y / (height * .86)) ** 2
    image[inner < (1 + folds * 4) ** 2] = grey
    image[inner < (.83 + folds * 6) ** 2] = white
    # the fissure between the halves
    image[brain & (np.abs(x) < .012) & (np.abs(y) > .35 * height)] = fluid
    size = max(0, 1 - (1.6 * z) ** 2)
    for side in (-1, 1):
        image[ellipse(x, y, (side * .16, -.16),
                (.075 * size + 1e-6, .26 * size + 1e-6), side * 14)] = fluid
        image[ellipse(x, y, (side * .2, .22),
                (.06 * size + 1e-6, .2 * size + 1e-6), side * -24)] = fluid
        image[ellipse(x, y, (side * .3, .02),
                (.1 * size + 1e-6, .17 * size + 1e-6))] = grey
    radius = .13 * np.sqrt(max(0, 1 - ((z - .15) / .3) ** 2))
    if radius:
        spot = ellipse(x, y, (.36, -.42), (radius, radius * .8), 20)
        image[spot & brain] = lesion
    return image + blurred(
        random.normal(0, 1, image.shape), 1.2) * abs(white - fluid) * .5


def slices(count, size, field, values, random):
    """Datasets of parallel slices, from the feet upwards."""
    x, y = grid(size)
    spacing, thickness = field / size, 5
    for number in range(count):
        z = -.75 + 1.5 * number / max(1, count - 1)
        image = blurred(head(x, y, z, random, values), .6)
        dataset = Dataset()
        dataset.PixelSpacing = [f'{spacing:.4f}'] * 2
        dataset.SliceThickness = thickness
        dataset.SpacingBetweenSlices = thickness
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [
            f'{-field / 2:.2f}', f'{-field / 2:.2f}', number * thickness]
        dataset.SliceLocation = number * thickness
        dataset.PatientPosition = 'HFS'
        dataset.PositionReferenceIndicator = ''
        dataset.BodyPartExamined = 'HEAD'
        dataset.AcquisitionNumber = 1
        yield dataset, image


def ct_series(count=24, size=256):
    random = np.random.default_rng(1)
    values = (-1000, 30, 900, 4, 28, 40, 72)
    for dataset, image in slices(count, size, 240, values, random):
        dataset.SOPClassUID = CTImageStorage
        dataset.ImageType = ['ORIGINAL', 'PRIMARY', 'AXIAL']
        dataset.SeriesDescription = "Head axial 5 mm, phantom"
        dataset.KVP = 120
        dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
        dataset.RescaleType = 'HU'
        dataset.WindowCenter, dataset.WindowWidth = 40, 90
        pixels(dataset, image + 1024, 12)
        yield dataset


def mr_series(count=20, size=256):
    random = np.random.default_rng(2)
    values = (0, 900, 60, 150, 720, 520, 980)
    y, x = np.mgrid[:size, :size] / size
    # the receiving coil is stronger on one side
    coil = 1.1 - .25 * x - .1 * y
    for dataset, image in slices(count, size, 240, values, random):
        dataset.SOPClassUID = MRImageStorage
        dataset.ImageType = ['ORIGINAL', 'PRIMARY', 'OTHER']
        dataset.SeriesDescription = "T1 SE axial, phantom"
        dataset.ScanningSequence = 'SE'
        dataset.SequenceVariant = 'NONE'
        dataset.ScanOptions = ''
        dataset.MRAcquisitionType = '2D'
        dataset.RepetitionTime, dataset.EchoTime = 550, 12
        dataset.EchoTrainLength = 1
        dataset.MagneticFieldStrength = '1.5'
        dataset.WindowCenter, dataset.WindowWidth = 480, 1000
        pixels(dataset, image * coil, 12)
        yield dataset


def us_series(frames=20, rows=384, columns=512):
    """One cine loop: a sector with a cyst that breathes."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:rows, :columns].astype(float)
    apex = (columns / 2, -60.)
    radius = np.hypot(x - apex[0], y - apex[1])
    angle = np.arctan2(x - apex[0], y - apex[1])
    sector = (np.abs(angle) < .62) & (radius > 85) & (radius < rows + 40)
    depth = np.clip((radius - 85) / (rows - 45), 0, 1)
    speckle = blurred(random.rayleigh(1, (rows, columns)), 1.1)
    speckle = (speckle - speckle.min()) / np.ptp(speckle)
    film = []
    for frame in range(frames):
        shift = 14 * np.sin(2 * np.pi * frame / frames)
        tissue = 120 - 45 * depth + 18 * np.sin(radius / 19 + shift / 9)
        wall = ellipse(x, y, (250, 190 + shift), (78, 52), 12)
        cyst = ellipse(x, y, (250, 190 + shift), (70, 45), 12)
        behind = (np.abs(angle - np.arctan2(-6, 250 + shift)) < .22) & (
            y > 225 + shift)
        tissue = np.where(behind, tissue * 1.45, tissue)
        tissue = np.where(wall, 190, tissue)
        image = tissue * (.35 + 1.1 * speckle)
        image = np.where(cyst, 8 + 20 * speckle, image)
        image = blurred(image, .8)
        # a vessel in front, and the bright line of the diaphragm
        image[ellipse(x, y, (330, 110 + shift / 2), (40, 13), -18)] *= .25
        line = np.abs(radius - 330 - shift) < 3
        image[line] = np.maximum(image[line], 215)
        film.append(np.where(sector, image, 0))
    dataset = Dataset()
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.ImageType = ['ORIGINAL', 'PRIMARY', 'ABDOMINAL', '0001']
    dataset.SeriesDescription = "Abdomen cine, phantom"
    dataset.BodyPartExamined = 'ABDOMEN'
    dataset.PatientOrientation = ''
    dataset.NumberOfFrames = frames
    dataset.FrameIncrementPointer = 0x00181063
    dataset.FrameTime = '66.67'
    dataset.CineRate = 15
    dataset.LossyImageCompression = '00'
    dataset.WindowCenter, dataset.WindowWidth = 128, 256
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.RegionDataType = 1
    region.RegionFlags = 0
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1 = columns - 1
    region.RegionLocationMaxY1 = rows - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = .04
    dataset.SequenceOfUltrasoundRegions = [region]
    pixels(dataset, np.stack(film), 8)
    yield dataset


def dx_series(size=1024):
    """One chest seen from behind, as sums of thickness."""
    random = np.random.default_rng(4)
    x, y = grid(size)

    def thickness(centre, axes, angle=0):
        angle = np.deg2rad(angle)
        u, v = x - centre[0], y - centre[1]
        a = u * np.cos(angle) + v * np.sin(angle)
        b = v * np.cos(angle) - u * np.sin(angle)
        return np.sqrt(np.clip(
                1 - (a / axes[0]) ** 2 - (b / axes[1]) ** 2, 0, None))

    body = 1.5 * thickness((0, .25), (.97, 1.35)) ** .6
    body += .7 * thickness((0, -.95), (.28, .5))
    body += .5 * thickness((0, -.62), (.95, .22))
    for side in (-1, 1):
        lung = thickness((side * .42, -.02), (.34, .66), side * -6) ** .45
        lung *= 1 / (1 + np.exp((y - .42 - .5 * (x - side * .42) ** 2) * 40))
        body -= .82 * lung
        # collar bone and shoulder blade
        body += .28 * thickness((side * .43, -.66), (.42, .035), side * -9)
        body += .16 * thickness((side * .85, -.4), (.12, .32), side * 14)
        for rib in range(9):
            top = -.62 + rib * .145
            curve = top + .55 * (np.abs(x) - .1) ** 2 - .1
            inside = (x * side > .06) & (np.abs(x) < .8)
            body += np.where(inside, .15 * np.exp(
                    -((y - curve) / .022) ** 2), 0)
    # heart, great vessels, spine with its discs
    body += .62 * thickness((.14, .22), (.3, .27), 28)
    body += .3 * thickness((-.02, -.2), (.14, .3))
    spine = .32 * np.exp(-(x / .085) ** 4)
    body += spine * (1 - .25 * (np.sin(y * 32) > .85))
    # a nodule in the right lung, to have something to find
    body += .25 * thickness((-.5, -.12), (.055, .055))
    body = blurred(body, 3)
    vessels = blurred(random.normal(0, 1, x.shape), 6)
    body += .05 * vessels / np.abs(vessels).max() * (body < .9)
    body += blurred(random.normal(0, .02, x.shape), .8)
    low, high = np.percentile(body, (1, 99.5))
    dataset = Dataset()
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.ImageType = ['ORIGINAL', 'PRIMARY', '']
    dataset.SeriesDescription = "Chest PA, phantom"
    dataset.PresentationIntentType = 'FOR PRESENTATION'
    dataset.BodyPartExamined = 'CHEST'
    region = Dataset()
    region.CodeValue = '51185008'
    region.CodingSchemeDesignator = 'SCT'
    region.CodeMeaning = "Chest"
    dataset.AnatomicRegionSequence = [region]
    dataset.ImageLaterality = 'U'
    view = Dataset()
    view.CodeValue = '399348003'
    view.CodingSchemeDesignator = 'SCT'
    view.CodeMeaning = "postero-anterior"
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]
    dataset.ViewPosition = 'PA'
    dataset.PositionerType = 'COLUMN'
    dataset.PatientOrientation = ['L', 'F']
    dataset.AcquisitionContextSequence = []
    dataset.DetectorType = 'DIRECT'
    dataset.ImagerPixelSpacing = [.4, .4]
    dataset.PixelSpacing = [.4, .4]
    dataset.PixelIntensityRelationship = 'LOG'
    dataset.PixelIntensityRelationshipSign = 1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.RescaleType = 'US'
    dataset.PresentationLUTShape = 'IDENTITY'
    dataset.LossyImageCompression = '00'
    dataset.BurnedInAnnotation = 'NO'
    dataset.KVP = 110
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    pixels(dataset, (body - low) / (high - low) * 4095, 12)
    yield dataset


MODALITIES = {
    'CT': ct_series,
    'MR': mr_series,
    'US': us_series,
    'DX': dx_series,
    }


def series(modality):
    """Return the datasets of a series of that modality, in order."""
    return list(MODALITIES[modality]())
