/** The engine process: takes messages from the agent, runs the model, answers text. It is confined before it begins. */

import { Socket } from 'node:net';
import { exit } from 'node:process';
import { excerpt } from '../../../attestation/core/bytes.ts';
import {
  hardenProcess,
  keepFromPrograms,
  readConfinement,
  renounceSystemCalls,
} from '../../../native/process/confinement.ts';
import { SEALED } from '../../../native/process/seccomp-filter.ts';
import { readShape } from '../../platform/shape.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import type { LlamaModelRunner } from './llama-model.ts';
import {
  CHANNEL_DESCRIPTOR,
  MAX_REQUEST_FRAME_BYTES,
  toEngineSchema,
  WEIGHTS_DESCRIPTOR,
  type FromEngine,
  type GenerateMessage,
  type StartMessage,
  type ToEngine,
} from './protocol.ts';

const channel = new Socket({ fd: CHANNEL_DESCRIPTOR, readable: true, writable: true });
const running = new Map<number, AbortController>();
let model: LlamaModelRunner | undefined;

function send(message: FromEngine): void {
  channel.write(encodeFrame(message));
}

/** Loads the model, and only then lets go of what loading needs. */
async function start(message: StartMessage): Promise<void> {
  const { loadLlamaModel } = await import('./llama-model.ts');
  model = await loadLlamaModel(`/proc/self/fd/${WEIGHTS_DESCRIPTOR}`, message);
  renounceSystemCalls(SEALED);
  send({
    kind: 'ready',
    contextTokens: model.contextTokens,
    ownChatTemplate: model.ownChatTemplate,
    confinement: readConfinement(),
  });
}

async function generate(message: GenerateMessage): Promise<void> {
  const { request } = message;
  const cancelled = new AbortController();
  running.set(request, cancelled);
  try {
    if (model === undefined) throw new Error('no model is loaded');
    const outcome = await model.generate(message, cancelled.signal, (text) => {
      send({ kind: 'text', request, text });
    });
    send(
      cancelled.signal.aborted ? { kind: 'rejected', request, reason: 'cancelled' } : { ...outcome, request },
    );
  } catch {
    // What the library says may quote the prompt, so it goes no further (GD-36).
    send({ kind: 'rejected', request, reason: 'generation-failed' });
  } finally {
    running.delete(request);
  }
}

async function handle(message: ToEngine): Promise<void> {
  switch (message.kind) {
    case 'start':
      await start(message);
      break;
    case 'generate':
      await generate(message);
      break;
    case 'cancel':
      running.get(message.request)?.abort();
      break;
  }
}

function fail(error: unknown): void {
  const detail = error instanceof Error ? error.message : 'unknown';
  channel.end(encodeFrame({ kind: 'failed', detail: excerpt(detail) } satisfies FromEngine), () => exit(1));
}

// A program does not inherit that its process is not dumpable.
hardenProcess();
keepFromPrograms(CHANNEL_DESCRIPTOR);
keepFromPrograms(WEIGHTS_DESCRIPTOR);

const reader = new FrameReader(MAX_REQUEST_FRAME_BYTES);
channel.on('data', (piece: Buffer) => {
  try {
    for (const frame of reader.push(piece)) handle(readShape(toEngineSchema, frame, 'message')).catch(fail);
  } catch (error) {
    fail(error);
  }
});
// The agent is gone.
channel.on('close', () => exit(0));
