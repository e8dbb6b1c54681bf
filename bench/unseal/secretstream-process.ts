/** The same as `secretstream.c` with libsodium in WebAssembly, where there is no compiler or no libsodium. */

import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';

import sodium from 'libsodium-wrappers-sumo';

import { moduleArguments, report } from '../support/program.ts';

export interface SecretstreamArguments {
  readonly direction: 'encrypt' | 'decrypt';
  readonly keyFile: string;
  readonly input: string;
  readonly output: string;
}

const MESSAGE_BYTES = 1024 * 1024;

await sodium.ready;
const TAG_FINAL = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL;
const SEALED_BYTES = MESSAGE_BYTES + sodium.crypto_secretstream_xchacha20poly1305_ABYTES;

function* pieces(file: number, bytes: number): Generator<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  for (;;) {
    const length = readSync(file, buffer);
    yield buffer.subarray(0, length);
    if (length < bytes) return;
  }
}

function encrypt(input: number, output: number, key: Uint8Array): void {
  const { state, header } = sodium.crypto_secretstream_xchacha20poly1305_init_push(key);
  writeSync(output, header);
  for (const message of pieces(input, MESSAGE_BYTES)) {
    const tag = message.length < MESSAGE_BYTES ? TAG_FINAL : 0;
    writeSync(output, sodium.crypto_secretstream_xchacha20poly1305_push(state, message, null, tag));
  }
}

function decrypt(input: number, output: number, key: Uint8Array): void {
  const header = new Uint8Array(sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES);
  readSync(input, header);
  const state = sodium.crypto_secretstream_xchacha20poly1305_init_pull(header, key);
  for (const sealed of pieces(input, SEALED_BYTES)) {
    const opened = sodium.crypto_secretstream_xchacha20poly1305_pull(state, sealed, null);
    if (opened === false) throw new Error('a message is not authentic');
    writeSync(output, opened.message);
    if (opened.tag === TAG_FINAL) return;
  }
  throw new Error('the stream has no end');
}

const { direction, keyFile, input, output } = moduleArguments() as SecretstreamArguments;
const [source, target] = [openSync(input, 'r'), openSync(output, 'w')];
(direction === 'encrypt' ? encrypt : decrypt)(source, target, readFileSync(keyFile));
closeSync(source);
closeSync(target);
report({});
