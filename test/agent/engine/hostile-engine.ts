/** An engine that speaks the protocol and then misbehaves in the way that its argument names. Run by the tests. */

import { Socket } from 'node:net';
import { argv, exit } from 'node:process';
import { encodeFrame, FrameReader } from '../../../src/agent/engine/frames.ts';
import { CHANNEL_DESCRIPTOR, type ToEngine } from '../../../src/agent/engine/protocol.ts';

const channel = new Socket({ fd: CHANNEL_DESCRIPTOR });
const reader = new FrameReader(1_000_000);
const confinement = {
  coreLimitBytes: 0,
  dumpable: false,
  noNewPrivileges: true,
  parentDeathSignal: 9,
  seccompFilters: 2,
  openRings: 0,
};
const send = (message: unknown): boolean => channel.write(encodeFrame(message));

const answers: Readonly<Record<string, (request: number) => void>> = {
  die: (request) => {
    channel.write(encodeFrame({ kind: 'text', request, text: 'half an ans' }), () => exit(7));
  },
  nonsense: () => channel.write('not a frame at all, but long enough'),
  huge: () => channel.write(Uint8Array.of(0x7f, 0xff, 0xff, 0xff)),
  'unknown-member': (request) => send({ kind: 'text', request, text: 'x', weights: 'AAAA' }),
  logits: (request) => send({ kind: 'logits', request, values: [1, 2] }),
  stranger: () => send({ kind: 'text', request: 4711, text: 'x' }),
  'late-failure': () => send({ kind: 'failed', detail: 'the prompt was: secret' }),
  'second-start': () => send({ kind: 'ready', contextTokens: 9, ownChatTemplate: false, confinement }),
  flood: (request) => {
    for (let i = 0; i < 100; i += 1) send({ kind: 'text', request, text: 'weights '.repeat(1000) });
  },
  hang: () => undefined,
};

function handle(message: ToEngine): void {
  if (message.kind === 'start') {
    if (argv[2] === 'mute') return;
    send({ kind: 'ready', contextTokens: 64, ownChatTemplate: false, confinement });
  }
  if (message.kind === 'generate') answers[argv[2] ?? '']?.(message.request);
  if (message.kind === 'cancel') send({ kind: 'rejected', request: message.request, reason: 'cancelled' });
}

channel.on('data', (piece: Buffer) => {
  for (const frame of reader.push(piece)) handle(frame as ToEngine);
});
