/** Interrupts as an abort signal, so that a command cleans up before it ends (CL-2). */

import { setImmediate as nextTurn } from 'node:timers/promises';

import { Interrupted } from './failure.ts';

/**
 * Runs a command with a signal that SIGINT and SIGTERM abort. A second interrupt ends the process at once.
 *
 * @throws Interrupted when the command ended because of a signal
 */
export async function withInterruption<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(name === 'SIGINT' ? 130 : 143);
    controller.abort(new Interrupted(name));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    const result = await run(controller.signal);
    controller.signal.throwIfAborted();
    return result;
  } catch (error) {
    // A terminal interrupts our children too. What one of them ended with may be seen before our own interrupt is.
    await nextTurn();
    controller.signal.throwIfAborted();
    throw error;
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** Waits until a signal aborts. */
export function untilAborted(signal: AbortSignal): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const settle = (): void => {
    resolve(undefined);
  };
  if (signal.aborted) settle();
  else signal.addEventListener('abort', settle, { once: true });
  return promise;
}
