// Server-sent events of a response.

import { ServerError } from "./server.js";

const CUT_OFF = "The connection ended before the answer did. Ask again.";

// The data of each event as an object, until the server says that it is done. Throws a ServerError
// for an error that the server sends, and for a stream that ends without its end.
export async function* readEvents(response) {
  for await (const line of readLines(response.body)) {
    if (!line.startsWith("data:")) continue; // An empty line, or a sign of life.
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ServerError(event.error.message);
    yield event;
  }
  throw new ServerError(CUT_OFF);
}

async function* readLines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      yield* lines;
    }
  } finally {
    reader.cancel().catch(() => {}); // Whoever stops reading ends the request.
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(CUT_OFF);
  }
}
