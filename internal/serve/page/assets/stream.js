// Server-sent events as they come over fetch.

/**
 * Yields the data of each event of a stream up to [DONE], as parsed JSON. Chunks may end anywhere, inside a character too.
 * A stream that ends without [DONE] is an error.
 */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/); // a \r at the end may be half of \r\n
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue; // comments, empty lines
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        yield JSON.parse(data);
      }
      if (done) throw new Error("the answer broke off before its end");
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
