/** Where passphrases come from: a file or a terminal, never an argument (CL-3). */

import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { readFileBounded } from '../platform/files.ts';
import { usageRefusals } from './failure.ts';

const MAX_PASSPHRASE_BYTES = 1024;

/**
 * @param file path given by `--passphrase-file`; its first line is the passphrase
 * @param purpose what is opened or made with it, for the prompt
 * @throws RefusalError `passphrase-missing`, `argument-invalid`, `file-*`
 */
export async function readPassphrase(file: string | undefined, purpose: string): Promise<string> {
  const passphrase = file === undefined ? await askOnTerminal(purpose) : await readFirstLine(file);
  if (passphrase === '') {
    throw usageRefusals.error('argument-invalid', {
      field: file ?? 'passphrase',
      expected: 'a passphrase',
      found: 'an empty one',
    });
  }
  return passphrase;
}

async function readFirstLine(file: string): Promise<string> {
  const text = fromUtf8(await readFileBounded(file, MAX_PASSPHRASE_BYTES), file);
  return text.split('\n', 1)[0] ?? '';
}

async function askOnTerminal(purpose: string): Promise<string> {
  if (!process.stdin.isTTY) {
    throw usageRefusals.error('passphrase-missing', {
      field: '--passphrase-file',
      expected: 'a file or a terminal',
      found: 'neither',
    });
  }
  process.stderr.write(`Passphrase for ${purpose}: `);
  // readline echoes what is typed to its output: this one shows nothing.
  const nowhere = new Writable({
    write: (_chunk, _encoding, done) => {
      done();
    },
  });
  const terminal = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await terminal.question('');
  } finally {
    terminal.close();
    process.stderr.write('\n');
  }
}
