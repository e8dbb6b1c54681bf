/** The agent's side of the engine process: starts it, queues requests, and believes nothing that it says unchecked. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { execPath, pid } from 'node:process';
import { fileURLToPath } from 'node:url';
import { excerpt } from '../../../attestation/core/bytes.ts';
import type { RefusalError } from '../../../attestation/core/refusal.ts';
import { readShape } from '../../platform/shape.ts';
import {
  engineRefusals,
  engineStartRefusals,
  promptRefusals,
  type Engine,
  type EngineDescription,
  type GenerationEvent,
  type GenerationRequest,
} from './engine.ts';
import { EventQueue } from './event-queue.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import {
  CHANNEL_DESCRIPTOR,
  fromEngineSchema,
  MAX_ANSWER_FRAME_BYTES,
  type FromEngine,
  type ToEngine,
} from './protocol.ts';

export interface EngineOptions {
  /** Descriptor of the weights in memory; the engine gets a duplicate of it. */
  readonly weightsDescriptor: number;
  readonly contextTokens: number;
  readonly threads: number;
  /** Requests that are answered at the same time. */
  readonly slots: number;
  /** Requests that may wait besides. */
  readonly queueLimit: number;
  /** Uses what llama.cpp finds of GPUs. The default computes on the CPU. */
  readonly gpu?: boolean;
  readonly startMilliseconds: number;
  /** Ends a start that lasts: a large model is loaded for minutes. */
  readonly signal?: AbortSignal;
}

interface PendingRequest {
  readonly number: number;
  readonly request: GenerationRequest;
  readonly events: EventQueue<GenerationEvent>;
  /** What the engine may still send as text of this answer. */
  charactersLeft: number;
}

const LAUNCHER = fileURLToPath(new URL('./engine-launch.ts', import.meta.url));
/** No vocabulary has tokens of more characters on average; an engine that sends more makes up its tokens. */
const MAX_CHARACTERS_PER_TOKEN = 256;
/** Of what the engine writes on standard error while it starts. */
const MAX_START_ERRORS = 2000;

/**
 * Starts an engine process and waits until the model is loaded and the process sealed.
 *
 * @throws RefusalError `engine-not-started`; the signal's reason, when it aborts
 */
export function startEngine(options: EngineOptions): Promise<Engine> {
  return startEngineProgram([LAUNCHER, String(pid)], options);
}

/**
 * Starts another program that speaks the protocol of docs/spec/guard.md, section 4. Confining itself is up to it.
 *
 * @param args for Node: the program's file and its arguments
 * @throws RefusalError `engine-not-started`; the signal's reason, when it aborts
 */
export async function startEngineProgram(args: readonly string[], options: EngineOptions): Promise<Engine> {
  const child = spawnEngine(args, options.weightsDescriptor);
  const engine = new ProcessEngine(child, options);
  try {
    await engine.start(options);
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** @throws RefusalError `engine-not-started` when this machine gives no process, or the descriptor is not open */
function spawnEngine(args: readonly string[], weightsDescriptor: number): ChildProcess {
  let found = 'no process';
  try {
    const child = spawn(execPath, ['--disable-warning=ExperimentalWarning', ...args], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', weightsDescriptor],
      env: {},
    });
    if (child.pid !== undefined) return child;
    // Node reports some failures by an event, which must not go unheard.
    child.on('error', () => undefined);
  } catch (error) {
    found = error instanceof Error ? excerpt(error.message) : found;
  }
  throw notStarted(found);
}

class ProcessEngine implements Engine {
  readonly ended: Promise<void>;
  private readonly child: ChildProcess;
  private readonly channel: Socket;
  private readonly reader = new FrameReader(MAX_ANSWER_FRAME_BYTES);
  private readonly slots: number;
  private readonly queueLimit: number;
  private readonly active = new Map<number, PendingRequest>();
  private waiting: PendingRequest[] = [];
  private nextNumber = 0;
  private described: EngineDescription | undefined;
  private startErrors = '';
  private end: RefusalError | undefined;
  /** Settles the start; set while it lasts. */
  private starting: ((problem?: RefusalError) => void) | undefined;

  constructor(child: ChildProcess, { slots, queueLimit }: EngineOptions) {
    this.child = child;
    this.slots = slots;
    this.queueLimit = queueLimit;
    this.channel = child.stdio[CHANNEL_DESCRIPTOR] as Socket;
    this.channel.on('data', (piece: Uint8Array) => {
      this.read(piece);
    });
    // The exit of the process says what there is to say about a broken channel.
    this.channel.on('error', () => undefined);
    child.stderr?.on('data', (piece: Buffer) => {
      if (this.described === undefined)
        this.startErrors = (this.startErrors + piece.toString()).slice(-MAX_START_ERRORS);
    });
    this.ended = exitOf(child).then((status) => {
      this.finish(
        engineRefusals.error('engine-ended', {
          field: 'engine',
          expected: 'a running process',
          found: status,
        }),
      );
    });
  }

  get description(): EngineDescription {
    if (this.described === undefined) throw notStarted('no answer yet');
    return this.described;
  }

  async start({
    contextTokens,
    threads,
    slots,
    gpu = false,
    startMilliseconds,
    signal,
  }: EngineOptions): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    this.starting = (problem) => {
      if (problem === undefined) resolve(undefined);
      else reject(problem);
    };
    const timer = setTimeout(() => {
      reject(notStarted(`nothing within ${startMilliseconds} ms`));
    }, startMilliseconds);
    const onAbort = (): void => {
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      signal?.throwIfAborted();
      this.send({ kind: 'start', contextTokens, threads, slots, gpu });
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      this.starting = undefined;
    }
  }

  async *generate(
    request: GenerationRequest,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, void, void> {
    const pending = this.enqueue(request);
    const cancel = (): void => {
      this.cancel(pending);
    };
    signal.addEventListener('abort', cancel, { once: true });
    try {
      if (signal.aborted) cancel();
      yield* pending.events;
    } finally {
      signal.removeEventListener('abort', cancel);
      cancel();
    }
  }

  async close(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  private enqueue(request: GenerationRequest): PendingRequest {
    if (this.end !== undefined) throw this.end;
    if (this.active.size >= this.slots && this.waiting.length >= this.queueLimit) {
      throw engineRefusals.error('engine-queue-full', {
        field: 'queue',
        expected: `at most ${this.queueLimit} waiting requests`,
        found: `${this.waiting.length + 1}`,
      });
    }
    const pending: PendingRequest = {
      number: this.nextNumber,
      request,
      events: new EventQueue<GenerationEvent>(),
      charactersLeft: MAX_CHARACTERS_PER_TOKEN * request.completionTokens,
    };
    this.nextNumber += 1;
    this.waiting.push(pending);
    this.sendWaiting();
    return pending;
  }

  private sendWaiting(): void {
    while (this.active.size < this.slots) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      this.active.set(next.number, next);
      this.send({
        ...next.request,
        messages: [...next.request.messages],
        stop: [...next.request.stop],
        kind: 'generate',
        request: next.number,
      });
    }
  }

  /** The slot of a cancelled request stays taken until the engine says that it is free. */
  private cancel(pending: PendingRequest): void {
    pending.events.end(
      engineRefusals.error('engine-cancelled', {
        field: 'request',
        expected: 'a complete answer',
        found: 'cancelled',
      }),
    );
    this.waiting = this.waiting.filter((other) => other !== pending);
    if (this.active.has(pending.number)) this.send({ kind: 'cancel', request: pending.number });
  }

  private send(message: ToEngine): void {
    if (this.channel.writable) this.channel.write(encodeFrame(message));
  }

  private read(piece: Uint8Array): void {
    try {
      for (const frame of this.reader.push(piece))
        this.handle(readShape(fromEngineSchema, frame, 'engine message'));
    } catch {
      this.breakOff('a message that is not of the protocol');
    }
  }

  private breakOff(found: string): void {
    this.finish(
      engineRefusals.error('engine-broke-framing', { field: 'engine', expected: 'declared messages', found }),
    );
    this.child.kill('SIGKILL');
  }

  private handle(message: FromEngine): void {
    if (message.kind === 'ready' || message.kind === 'failed') {
      this.settleStart(message);
      return;
    }
    const pending = this.active.get(message.request);
    if (pending === undefined) {
      this.breakOff('an answer to no request');
      return;
    }
    if (message.kind === 'text') {
      this.takeText(pending, message.text);
      return;
    }
    this.active.delete(message.request);
    if (message.kind === 'end') pending.events.push(endEvent(message));
    pending.events.end(message.kind === 'end' ? undefined : rejection(message));
    this.sendWaiting();
  }

  private takeText(pending: PendingRequest, text: string): void {
    pending.charactersLeft -= text.length;
    if (pending.charactersLeft < 0) this.breakOff('more text than the answer has tokens');
    else pending.events.push({ kind: 'text', text });
  }

  private settleStart(message: Extract<FromEngine, { kind: 'ready' | 'failed' }>): void {
    if (this.starting === undefined) {
      this.breakOff('a second start');
      return;
    }
    if (message.kind === 'ready') {
      const { contextTokens, ownChatTemplate, confinement } = message;
      this.described = { processId: this.child.pid ?? 0, contextTokens, ownChatTemplate, confinement };
      this.starting();
    } else {
      this.starting(notStarted(excerpt(message.detail)));
    }
  }

  /** The first reason stays; it ends all that waits. */
  private finish(reason: RefusalError): void {
    if (this.end !== undefined) return;
    this.end = reason;
    this.starting?.(notStarted(this.startErrors === '' ? reason.refusal.found : lastLine(this.startErrors)));
    for (const pending of [...this.active.values(), ...this.waiting]) pending.events.end(reason);
    this.active.clear();
    this.waiting = [];
  }
}

function endEvent(message: Extract<FromEngine, { kind: 'end' }>): GenerationEvent {
  const { reason, promptTokens, completionTokens } = message;
  return { kind: 'end', reason, usage: { promptTokens, completionTokens } };
}

function rejection({ reason }: Extract<FromEngine, { kind: 'rejected' }>): RefusalError {
  if (reason === 'prompt-too-long') {
    return promptRefusals.error('engine-prompt-too-long', {
      field: 'messages',
      expected: "room for an answer in the model's context",
      found: 'a prompt that fills it',
    });
  }
  const code = reason === 'cancelled' ? 'engine-cancelled' : 'engine-generation-failed';
  return engineRefusals.error(code, { field: 'request', expected: 'a complete answer', found: reason });
}

function notStarted(found: string): RefusalError {
  return engineStartRefusals.error('engine-not-started', {
    field: 'engine',
    expected: 'a loaded model in a sealed process',
    found,
  });
}

function lastLine(text: string): string {
  const lines = text.split('\n').filter((line) => /Error|refus|expected/i.test(line));
  return excerpt(lines[0] ?? text.trim());
}

async function exitOf(child: ChildProcess): Promise<string> {
  try {
    const [status, signal] = (await once(child, 'exit')) as [number | null, string | null];
    return signal ?? `exit status ${status ?? 'unknown'}`;
  } catch (error) {
    return error instanceof Error ? excerpt(error.message) : 'no process';
  }
}
