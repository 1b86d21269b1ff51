// What the server has decides what the page shows.

import { startChat } from "./chat_view.js";
import { startDocuments } from "./documents_view.js";
import { byId, element, say } from "./dom.js";
import { startKeys } from "./key_view.js";
import { startLinking } from "./linking_view.js";
import { openPassage } from "./passage_view.js";
import { callJson } from "./server.js";
import { startTabs } from "./tabs.js";

// The vector store that stands for the index of `--index`.
const INDEX = "vs_index";

const served = { models: [], index: false, storage: false, linker: null };
const documents = startDocuments(startTabs());
startChat(chooseOptions, openPassage);
startLinking(() => served.linker);
startKeys(begin);
begin();

async function begin() {
  try {
    const [ready, models] = await Promise.all([callJson("ready"), callJson("v1/models")]);
    served.models = models.data.map((one) => one.id);
    served.index = Boolean(ready.index);
    served.storage = Boolean(ready.storage);
    const linkers = models.data.filter((one) => one.links_entities);
    served.linker = ready.entities ? (linkers[0]?.id ?? null) : null;
    showModels(models.data);
    byId("linking-tab").hidden = !served.linker;
    byId("storage").hidden = !served.storage;
    byId("no-storage").hidden = served.storage;
    say(byId("problem"), "");
    say(byId("welcome"), welcome(ready));
    if (served.storage) await documents.refresh();
    byId("question").focus();
  } catch (error) {
    // A missing key has a dialog of its own.
    if (error.status !== 401) say(byId("problem"), error.message);
  }
}

function showModels(models) {
  const writing = models.filter((one) => !one.links_entities);
  const shown = writing.length ? writing : models;
  byId("model").replaceChildren(...shown.map((one) => element("option", {}, one.id)));
  byId("model-chooser").hidden = shown.length < 2;
}

function welcome({ index }) {
  if (index) return `Answers search an index of ${index.passages.toLocaleString("en")} passages.`;
  if (served.storage) return "There is no index: upload documents, and answers search them.";
  return "There is no index: answers rest on the model alone.";
}

function chooseOptions() {
  const model = byId("model").value;
  // Only the first model can search: its embeddings are those of the passages.
  const searches = documents.store.hasPassages && model === served.models[0];
  if (!searches) return { model };
  const stores = served.index ? [INDEX, documents.store.id] : [documents.store.id];
  return { model, retrieval: { vector_store_ids: stores } };
}
