// The documents of this page: files of the server, in one vector store of the page's own.

import { call, callJson, listAll } from "./server.js";

const NAME = "documents";

export class DocumentStore {
  id = null;
  files = []; // {id, name, size, status, problem}

  // Reads the files and their states.
  async refresh() {
    const stores = await listAll("v1/vector_stores");
    this.id = stores.find((one) => one.name === NAME)?.id ?? null;
    if (!this.id) {
      this.files = [];
      return;
    }
    const [entries, files] = await Promise.all([
      listAll(`v1/vector_stores/${this.id}/files`),
      listAll("v1/files"),
    ]);
    const known = new Map(files.map((one) => [one.id, one]));
    this.files = entries.map(({ id, status, last_error: error }) => ({
      id,
      status,
      problem: error?.message ?? "",
      name: known.get(id)?.filename ?? id,
      size: known.get(id)?.bytes ?? 0,
    }));
  }

  // Uploads a file, which the server then reads in the background.
  async add(file) {
    const form = new FormData();
    form.append("purpose", "assistants");
    form.append("file", file, file.name);
    const { id } = await callJson("v1/files", { method: "POST", form });
    if (!this.id) {
      const made = await callJson("v1/vector_stores", { method: "POST", json: { name: NAME } });
      this.id = made.id;
    }
    const path = `v1/vector_stores/${this.id}/files`;
    await call(path, { method: "POST", json: { file_id: id } });
  }

  async remove(id) {
    await call(`v1/files/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  get isReading() {
    return this.files.some((one) => one.status === "in_progress");
  }

  get hasPassages() {
    return this.files.some((one) => one.status === "completed");
  }
}
