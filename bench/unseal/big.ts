/** The same at a size at which everything that grows with it would show. Only the memory counts: no disk keeps up. */

import { readFileSync } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { availableBytes } from '../../native/memory/available.ts';
import { WEIGHTS, type Context } from './context.ts';
import { openBundle } from './ours.ts';
import { figuresOf } from './rounds.ts';
import type { MeasuredRow } from './row.ts';

const SPARED_BYTES = 1024 ** 3;

export async function measureBig(context: Context, bytes: number): Promise<MeasuredRow> {
  const row = {
    name: 'unseal-big',
    label: `unseal, all cores, ${(bytes / 2 ** 30).toFixed(1)} GiB`,
    group: 'weightgate',
  } as const;
  const missing = await whyNot(context, bytes);
  if (missing !== undefined) return { ...row, missing };
  const bundle = await context.seal(await sparseFolder(context, bytes), context.workplace.path('big-bundle'));
  try {
    const measured = await openBundle(context, bundle, { portable: false });
    return { ...row, figures: figuresOf([{ ...measured, note: `from disk, ${measured.note ?? ''}` }]) };
  } finally {
    await rm(bundle.folder, { recursive: true, force: true });
  }
}

async function whyNot({ workplace }: Context, bytes: number): Promise<string | undefined> {
  const memory = availableBytes(readFileSync('/proc/meminfo', 'latin1'));
  if (memory < bytes + SPARED_BYTES) return `only ${memory} bytes of memory are available`;
  const disk = await workplace.available();
  return disk < bytes + SPARED_BYTES ? `only ${disk} bytes are free on disk` : undefined;
}

/** Zeros take no room; their ciphertext is like any other. */
async function sparseFolder(context: Context, bytes: number): Promise<string> {
  const folder = context.workplace.path('big');
  await mkdir(folder);
  const file = await open(join(folder, WEIGHTS), 'wx');
  await file.truncate(bytes);
  await file.close();
  return folder;
}
