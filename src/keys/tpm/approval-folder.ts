/** The folder of approvals beside a custody file. */

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { sha256 } from '@noble/hashes/sha2.js';

import { toHex } from '../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { fileRefusals, readFileBounded, writeFileDurably } from '../../platform/files.ts';
import { type Approval, type ApprovalRules, MAX_APPROVAL_BYTES, readApproval } from './approval.ts';

/** More states than anybody keeps approved; bounds the work of an opening. */
const MAX_APPROVALS = 64;
const APPROVAL_NAME = /^[0-9a-f]{16}\.json$/;
const WORLD_READABLE = 0o644;
const OWNER_ONLY_FOLDER = 0o700;

/** What a folder of approvals holds. */
export interface InstalledApprovals {
  readonly approvals: readonly Approval[];
  /** File and refusal code of each that is of no use here. */
  readonly refused: readonly string[];
}

/**
 * Reads all approvals. One that is of no use is named and passed over: whoever may write into the folder could else
 * keep the server from starting, and gains nothing by a bad one.
 *
 * @throws RefusalError `file-not-readable`, `file-too-large`
 */
export async function readApprovalFolder(folder: string, rules: ApprovalRules): Promise<InstalledApprovals> {
  const names = await approvalNames(folder);
  const approvals: Approval[] = [];
  const refused: string[] = [];
  for (const name of names) {
    try {
      const bytes = await readFileBounded(join(folder, name), MAX_APPROVAL_BYTES);
      approvals.push(await readApproval(bytes, rules, name));
    } catch (error) {
      if (!isRefusal(error)) throw error;
      refused.push(`${name}: ${error.refusal.code}`);
    }
  }
  return { approvals, refused };
}

async function approvalNames(folder: string): Promise<readonly string[]> {
  const entries = await listFolder(folder);
  const names = entries.filter((name) => APPROVAL_NAME.test(name)).toSorted();
  if (names.length <= MAX_APPROVALS) return names;
  throw fileRefusals.error('file-too-large', {
    field: folder,
    expected: `at most ${MAX_APPROVALS} approvals`,
    found: String(names.length),
  });
}

async function listFolder(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if (isMissing(cause)) return [];
    const facts = { field: folder, expected: 'a readable folder', found: 'none' };
    throw fileRefusals.error('file-not-readable', facts, { cause });
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/**
 * Puts an approval into the folder, after it was verified.
 *
 * @returns its path
 * @throws RefusalError as `readApproval`; `file-not-written`
 */
export async function installApproval(
  folder: string,
  bytes: Uint8Array,
  rules: ApprovalRules,
): Promise<string> {
  await readApproval(bytes, rules, 'approval');
  const path = join(folder, `${toHex(sha256(bytes)).slice(0, 16)}.json`);
  await makeFolder(folder);
  await writeFileDurably(path, bytes, WORLD_READABLE);
  return path;
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: OWNER_ONLY_FOLDER });
  } catch (cause) {
    const facts = { field: folder, expected: 'a folder that can be made', found: 'an error' };
    throw fileRefusals.error('file-not-written', facts, { cause });
  }
}
