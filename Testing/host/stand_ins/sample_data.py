"""Stand-in for the SampleData module: the register of data sets, and data that is already here.

Nothing is ever fetched from a network: a source that is neither a local file nor has its own
downloader is refused.
"""

from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import slicer

__all__ = ["SampleDataLogic", "SampleDataSource", "downloadSample", "downloadSamples"]


class SampleDataSource:
    """One data set; `uris`, `fileNames`, `nodeNames`, ... are lists of the same length."""

    def __init__(
        self,
        sampleName=None,
        sampleDescription=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        checksums=None,
        loadFiles=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFileProperties=None,
        loadFileType=None,
    ):
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("give loadFileTypes or its old name loadFileType, not both")
        self.sampleName = sampleName
        self.sampleDescription = sampleName if sampleDescription is None else sampleDescription
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        self.uris = [uris] if isinstance(uris, str) else uris
        lists = {
            "fileNames": fileNames,
            "nodeNames": nodeNames,
            "checksums": checksums,
            "loadFiles": loadFiles,
            "loadFileTypes": loadFileTypes if loadFileType is None else loadFileType,
        }
        for name, value in lists.items():
            setattr(self, name, _as_long_as(self.uris, value, name))

    def __eq__(self, other):
        return isinstance(other, SampleDataSource) and str(self) == str(other)

    __hash__ = None

    def __str__(self):
        return "\n".join(f"{name}: {value}" for name, value in vars(self).items())


class SampleDataLogic:
    """The register is `slicer.modules.sampleDataSources`: category -> list of sources."""

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        _register("sampleDataSourceCategories").setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        source = SampleDataSource(
            sampleName=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileTypes=loadFileTypes,
            loadFiles=loadFiles,
            loadFileProperties=loadFileProperties,
            checksums=checksums,
            loadFileType=loadFileType,
        )
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            _register("sampleDataSources").setdefault(category, []).append(source)

    @staticmethod
    def categoryTitle(category):
        return _register("sampleDataSourceCategories").get(category, {}).get("title", category)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        sources = _register("sampleDataSources")
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource):
        if not isinstance(sampleDataSource, SampleDataSource):
            raise TypeError(f"expected a SampleDataSource, got {type(sampleDataSource)}")
        return sampleDataSource in _register("sampleDataSources").get(category, [])

    def sourceForSampleName(self, sampleName):
        for sources in _register("sampleDataSources").values():
            for source in sources:
                if source.sampleName == sampleName:
                    return source
        return None

    def downloadFromSource(self, source, maximumAttemptsCount=3, forceDownload=False):
        """Load a source and return its nodes (paths for entries that are not to be loaded)."""
        return [self._loaded(source, index) for index in range(len(source.uris))]

    def downloadSample(self, sampleName):
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName):
        source = self.sourceForSampleName(sampleName)
        if source is None:
            raise RuntimeError(f"no sample data is called {sampleName!r}")
        return self.downloadFromSource(source)

    @staticmethod
    def _loaded(source, index):
        parts = urlparse(source.uris[index])
        path = Path(url2pathname(parts.path) if parts.scheme == "file" else source.uris[index])
        if parts.scheme in ("http", "https") or not path.is_file():
            raise RuntimeError(f"tests fetch nothing: {source.uris[index]}")
        if source.loadFiles[index] is False:
            return str(path)
        kind = source.loadFileTypes[index] or "VolumeFile"
        name = source.nodeNames[index]
        properties = {**source.loadFileProperties, **({"name": name} if name else {})}
        return slicer.util.loadNodeFromFile(str(path), kind, properties)


def downloadSample(sampleName):
    """Load the first node of a data set."""
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName):
    """Load all nodes of a data set."""
    return SampleDataLogic().downloadSamples(sampleName)


def _register(name):
    if not hasattr(slicer.modules, name):
        setattr(slicer.modules, name, {})
    return getattr(slicer.modules, name)


def _as_long_as(uris, value, name):
    if value is None or isinstance(value, str | bool):
        return [value] * len(uris)
    if len(value) != len(uris):
        raise ValueError(f"{name} has {len(value)} entries for {len(uris)} uris")
    return list(value)
