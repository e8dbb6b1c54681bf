/** Where passphrases come from: a file or a terminal, never an argument (CL-3). */

import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { readFileBounded } from '../platform/files.ts';
import { usageRefusals } from './failure.ts';

const MAX_LINE_BYTES = 1024;

/**
 * @param file path given by `--passphrase-file`; its first line is the passphrase
 * @param purpose what is opened or made with it, for the prompt
 * @throws RefusalError `passphrase-missing`, `argument-invalid`, `file-*`
 */
export async function readPassphrase(file: string | undefined, purpose: string): Promise<string> {
  if (file !== undefined) return await readSecretLine(file, 'a passphrase');
  const passphrase = await askOnTerminal(purpose);
  if (passphrase === '') refuseEmpty('passphrase', 'a passphrase');
  return passphrase;
}

/**
 * The first line of a file that holds a secret.
 *
 * @param expected what it is, for the refusal
 * @throws RefusalError `argument-invalid` for an empty line, `file-*`, `utf8-malformed`
 */
export async function readSecretLine(file: string, expected: string): Promise<string> {
  const text = fromUtf8(await readFileBounded(file, MAX_LINE_BYTES), file);
  const line = (text.split('\n', 1)[0] ?? '').replace(/\r$/, '');
  if (line === '') refuseEmpty(file, expected);
  return line;
}

function refuseEmpty(field: string, expected: string): never {
  throw usageRefusals.error('argument-invalid', { field, expected, found: 'an empty one' });
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
