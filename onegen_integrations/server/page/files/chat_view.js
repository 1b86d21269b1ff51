// The conversation: asking, stopping, beginning anew.

import { AnswerView } from "./answer_view.js";
import { Conversation } from "./conversation.js";
import { byId } from "./dom.js";

// `chooseOptions` gives the fields of the next request; `open` shows a passage.
export function startChat(chooseOptions, open) {
  const form = byId("ask");
  const question = byId("question");
  const log = byId("log");
  const conversation = new Conversation();
  let running = null; // of the answer that is being written

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = question.value.trim();
    if (text && !running) ask(text);
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("new").addEventListener("click", () => {
    running?.abort();
    conversation.clear();
    log.querySelectorAll("article").forEach((turn) => turn.remove());
    byId("welcome").hidden = false;
    byId("state").textContent = "";
    question.focus();
  });

  async function ask(text) {
    const stopping = new AbortController();
    const view = new AnswerView(text, open);
    byId("welcome").hidden = true;
    log.append(view.root);
    question.value = "";
    question.focus();
    setRunning(stopping);
    const follow = followWriting(log);
    try {
      await conversation.ask(text, chooseOptions(), view, stopping.signal);
      finish("Answered.");
    } catch (error) {
      if (error.name === "AbortError") {
        view.note("Stopped.");
        finish("Stopped.");
      } else {
        view.fail(error.message);
        finish("");
        question.value ||= text; // To send it again.
      }
    } finally {
      view.end();
      follow.disconnect();
    }

    function finish(state) {
      // A new conversation may have begun meanwhile, with an answer of its own.
      if (running === stopping) setRunning(null, state);
    }
  }

  function setRunning(stopping, state = "Answering…") {
    running = stopping;
    byId("send").disabled = Boolean(stopping);
    byId("stop").hidden = !stopping;
    byId("state").textContent = state;
    if (!stopping && document.activeElement === document.body) question.focus();
  }
}

// Keeps the end in view while it grows, unless the reader has scrolled up.
function followWriting(log) {
  let follows = true;
  const scrolled = () => {
    follows = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  };
  const toEnd = () => {
    if (follows) log.scrollTop = log.scrollHeight;
  };
  log.addEventListener("scroll", scrolled);
  const observer = new MutationObserver(toEnd);
  observer.observe(log, { childList: true, subtree: true, characterData: true });
  toEnd();
  return {
    disconnect() {
      requestAnimationFrame(() => {
        toEnd();
        observer.disconnect();
        log.removeEventListener("scroll", scrolled);
      });
    },
  };
}
