"""What the sources that read image files have in common: all but where they find the list of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from assay.data import image_cache
from assay.data.image_cache import Progress
from assay.data.labelled_files import LabelledFiles
from assay.data.source import Examples
from assay.recipe.schema import CsvData, FolderData

ImageSection = TypeVar("ImageSection", FolderData, CsvData)


class ImageFilesSource(ABC, Generic[ImageSection]):
    """Images listed by a folder or a table, decoded once into the cache."""

    def __init__(self, section: ImageSection) -> None:
        self._section: ImageSection = section

    @abstractmethod
    def files(self) -> LabelledFiles:
        """What is listed now.

        Raises:
            DataError: the list is missing or not as it should be.
        """

    def load(self) -> Examples:
        """uint8 images (N, C, H, W), memory-mapped, in the order of the list; decoded now unless they have been.

        Raises:
            DataError: as `files`; or images are bad, or the cache cannot be written.
        """
        return image_cache.examples(self.files(), self._section)

    def prepare(self) -> Iterator[Progress]:
        """Decode what has not been decoded yet, telling how far it is."""
        return image_cache.prepare(self.files(), self._section)

    def fingerprint(self) -> str:
        """See `assay.data.labelled_files.fingerprint`."""
        return image_cache.fingerprint(self.files(), self._section)
