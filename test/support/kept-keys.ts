/**
 * RSA keys of simulated authorities. Making one takes a second or more, and dozens of test files need some: each is made
 * once and kept below node_modules for later runs. Whatever is signed with them is worth nothing outside of tests.
 */

import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'weightgate-test-keys');

const read = new Map<string, KeyObject>();

/** The key of 4096 bits that stands for a role: another role has another one. @param role lower-case letters and `-` */
export function keptRsaKey(role: string): KeyObject {
  const known = read.get(role) ?? readKey(role) ?? makeKey(role);
  read.set(role, known);
  return known;
}

function pathOf(role: string): string {
  return join(FOLDER, `rsa-4096-${role}.pem`);
}

function readKey(role: string): KeyObject | undefined {
  try {
    return createPrivateKey(readFileSync(pathOf(role)));
  } catch {
    return undefined;
  }
}

function makeKey(role: string): KeyObject {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 4096 });
  mkdirSync(FOLDER, { recursive: true });
  // Processes that make the same key at once each rename a whole file; the last one is what later runs find.
  const unfinished = `${pathOf(role)}.${process.pid}`;
  writeFileSync(unfinished, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  renameSync(unfinished, pathOf(role));
  return privateKey;
}
