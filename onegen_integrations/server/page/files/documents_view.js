// Documents: uploading, how far they are read, and removing them.

import { DocumentStore } from "./document_store.js";
import { byId, element, say } from "./dom.js";

const POLL = 500; // milliseconds
const STATES = { in_progress: "is being read…", completed: "ready", failed: "cannot be used" };

// Returns the store, whose `id` and `hasPassages` say what a question can search.
export function startDocuments(showTab) {
  const store = new DocumentStore();
  const uploads = []; // {name, problem}: on their way, or refused
  let timer = null;

  byId("files").addEventListener("change", (event) => {
    upload([...event.target.files]);
    event.target.value = ""; // The same file may be chosen again.
  });
  acceptDrops((files) => {
    if (byId("storage").hidden) return;
    showTab("documents");
    upload(files);
  });

  async function upload(files) {
    const started = files.map((file) => ({ file, name: file.name, problem: "" }));
    uploads.push(...started);
    show();
    for (const one of started) {
      try {
        await store.add(one.file);
        uploads.splice(uploads.indexOf(one), 1);
        await refresh();
      } catch (error) {
        one.problem = error.message;
        show();
      }
    }
  }

  async function remove(file) {
    if (!confirm(`Delete ${file.name}? Its passages can no longer be found and opened.`)) return;
    await attempt(() => store.remove(file.id));
    await refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    await attempt(() => store.refresh());
    if (store.isReading) timer = setTimeout(refresh, POLL);
    show();
  }

  function show() {
    const rows = [
      ...store.files.map((file) => [file.id, file, STATES[file.status] ?? file.status]),
      ...uploads.map((one) => [one.name, one, one.problem ? "was refused" : "is uploaded…"]),
    ];
    update(byId("file-list"), rows, row);
    byId("no-files").hidden = rows.length > 0;
    byId("documents-tab").textContent = rows.length ? `Documents (${rows.length})` : "Documents";
  }

  function row(file, state) {
    const size = file.size ? ` ${sizeOf(file.size)} ` : " ";
    const about = element("span", { className: "faint" }, size, state);
    const shown = element("li", {}, element("strong", {}, file.name), about);
    if (file.problem) shown.append(element("p", { className: "problem" }, file.problem));
    if (!file.id) return shown;
    const label = `Delete ${file.name}`;
    const onclick = () => remove(file);
    shown.append(element("button", { type: "button", "aria-label": label, onclick }, "Delete"));
    return shown;
  }

  return { store, refresh };
}

// Replaces only rows that changed, so that a button keeps its focus and nothing is read out twice.
function update(list, rows, make) {
  const before = new Map([...list.children].map((one) => [one.dataset.key, one]));
  list.replaceChildren(
    ...rows.map(([id, file, state]) => {
      const key = [id, state, file.problem].join("\n");
      const kept = before.get(key) ?? make(file, state);
      kept.dataset.key = key;
      return kept;
    }),
  );
}

async function attempt(work) {
  try {
    await work();
    say(byId("problem"), "");
  } catch (error) {
    say(byId("problem"), error.message);
  }
}

// A file that is dropped anywhere is taken, instead of being opened by the browser.
function acceptDrops(take) {
  const drop = byId("drop");
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  window.addEventListener("dragleave", () => drop.classList.remove("over"));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

function sizeOf(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
