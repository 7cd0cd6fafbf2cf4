"""Why a file did not become a sample: a small closed list, each with a sentence and a way out."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One reason per rejected file; `sentence` says what happened, `hint` what a person can do."""

    sentence: str
    hint: str

    def __new__(cls, value: str, sentence: str, hint: str) -> Reason:
        """A member that is its `value` and carries its two texts."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        member.hint = hint
        return member

    HIDDEN = "hidden", "The file or its folder is hidden.", "Rename it if it is an image."
    NOT_A_FILE = "not_a_file", "It is a device, a pipe or a broken link.", "Copy the image itself into the folder."
    LINKED_FOLDER = (
        "linked_folder",
        "It is a link to a folder, and such links are not followed.",
        "Nothing to do: a folder below the source is read where it is.",
    )
    OUTSIDE_SOURCE = "outside_source", "The link leads out of the folder.", "Copy the image itself into the folder."
    UNREADABLE = "unreadable", "The file could not be read from the disk.", "Check its permissions and the disk."
    EMPTY = "empty", "The file has no bytes.", "Export it again."
    ARCHIVE = "archive", "It is an archive.", "Unpack it into the folder and import again."
    DICOMDIR = "dicomdir", "It is a DICOMDIR, an index of other files.", "Nothing to do: the files it lists are read."
    NOT_AN_IMAGE = "not_an_image", "It is neither DICOM nor PNG, JPEG or TIFF.", "Convert it if it is an image."
    BROKEN_HEADER = "broken_header", "The DICOM header cannot be understood.", "Export it again from the PACS."
    NOT_AN_IMAGE_CLASS = (
        "not_an_image_class",
        "The DICOM object is not an image (report, plan, dose, segmentation, ...).",
        "Nothing to do, unless such objects were meant to be training images.",
    )
    NO_PIXEL_DATA = "no_pixel_data", "The DICOM image has no pixel data.", "Export it again with its pixels."
    BURNED_IN = (
        "burned_in_annotation",
        "The image declares text burned into its pixels, which may name the patient.",
        "Remove the text and set BurnedInAnnotation to NO, or leave the image out.",
    )
    TOO_LARGE = "too_large", "The image is larger than the import's limit.", "Split or downsample it."
    PHOTOMETRIC = (
        "photometric",
        "The photometric interpretation is missing, unknown or contradicts the channels.",
        "Export it again, or convert it to MONOCHROME2 or RGB.",
    )
    UNSUPPORTED = (
        "unsupported_encoding",
        "No decoder for this transfer syntax or pixel format.",
        "Transcode it to Explicit VR Little Endian and import again.",
    )
    DECODE_FAILED = "decode_failed", "The pixels cannot be decoded: damaged or truncated.", "Export it again."
    DECODER_CRASHED = (
        "decoder_crashed",
        "The decoder died on this file.",
        "Treat the file with suspicion; export it again uncompressed.",
    )
    TIMED_OUT = "timed_out", "Decoding took longer than the limit.", "Export it again uncompressed."
    NOT_FINITE = "not_finite", "The pixels hold NaN or infinity.", "Repair the image and import again."
    NO_LABEL = "no_label", "No line of the labels CSV is about this file.", "Add a line, or leave the file out."
    LABEL_EMPTY = "label_empty", "Its line of the labels CSV has no label.", "Fill in a label, or leave the file out."
    MISMATCH = (
        "identifier_mismatch",
        "Its line of the labels CSV names another patient or study than the file does.",
        "Correct the line; one of the two is wrong.",
    )
    NO_PATIENT = (
        "no_patient",
        "Neither the file nor its line of the labels CSV says whose image it is.",
        "Fill in PatientID in its line; add the column if there is none.",
    )
    DUPLICATE_INSTANCE = (
        "duplicate_instance",
        "Another file holds the same SOP instance.",
        "Nothing to do: the first of them was kept.",
    )
    DUPLICATE_PIXELS = (
        "duplicate_pixels",
        "Another file holds exactly the same pixels.",
        "Nothing to do, unless the two have different patients: then one is wrong.",
    )
    LINE_WITHOUT_FILE = (
        "line_without_file",
        "No file that could be read belongs to this line.",
        "Correct its identifier, or leave the line out; a file whose header is unreadable is listed by its own name.",
    )


REASONS = {reason.value: reason for reason in Reason}


class Rejection(Exception):  # not an error: one of the ways a file's journey ends
    """Raised while one file is looked at; never leaves the intake.

    `identity` is what the header said before it was refused, for finding the label line that is about it.
    """

    def __init__(self, reason: Reason, identity: dict[str, str] | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.identity = identity or {}
