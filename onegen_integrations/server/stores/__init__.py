"""Files and vector stores: what callers upload, and the indexes that are made of it.

The id of an uploaded passage is `STORE/FILE#N`, or `STORE/FILE/RECORD#N` for a record of a file of
records: no two stores have one of the same id, and an id tells its store. The index that a server
is given at its start is listed as the vector store `vs_index`, which only the operator changes; its
passages keep their ids.

The folder of a server (`ServerSettings.storage`), which one process holds by its lock:

    server.lock
    files/FILE/content.SUFFIX   what was uploaded; FILE is an id, never the name of the user
    files/FILE/file.json        its name, purpose, size, digest, and the scope that it belongs to
    stores/STORE/store.json     name, metadata, and the files of the store with their state
    stores/STORE/index/         the passages: a folder of `PassageIndex.save`

Every JSON file is replaced as a whole and synced before a request is answered. What is not
finished when a server is killed is taken up again when it starts, from the uploaded file.
"""
