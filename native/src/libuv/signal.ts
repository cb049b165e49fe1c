export interface SignalWatch {
  close(): void;
}

/** Where Atomics.waitAsync is missing the signal is looked at this often. */
const POLL_MS = 1;

/** Calls `listener` in this thread's loop after another thread has raised the signal (an int32 that counts up). */
export function watchSignal(memory: SharedArrayBuffer, listener: () => void): SignalWatch {
  const signal = new Int32Array(memory);
  let seen = 0;
  let open = true;
  const look = (): void => {
    const value = Atomics.load(signal, 0);
    if (value === seen) return;
    seen = value;
    listener();
  };
  const { waitAsync } = Atomics as unknown as {
    waitAsync?: (array: Int32Array, index: number, value: number) => { async: false } | { async: true; value: Promise<unknown> };
  };
  if (waitAsync === undefined) {
    const timer = setInterval(look, POLL_MS);
    timer.unref();
    return { close: () => clearInterval(timer) };
  }
  const wait = (): void => {
    if (!open) return;
    const result = waitAsync(signal, 0, seen);
    if (result.async) {
      void result.value.then(() => {
        if (open) look();
        wait();
      });
    } else {
      look();
      setImmediate(wait);
    }
  };
  wait();
  return {
    close: () => {
      open = false;
      Atomics.notify(signal, 0);
    },
  };
}
