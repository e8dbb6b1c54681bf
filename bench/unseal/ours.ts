/** Rows for what is measured: opening and sealing, each run in a fresh process. */

import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { findProgram, runModule, type ProgramOptions } from '../support/program.ts';
import { mebibytes } from './bars.ts';
import { SEAL_PROCESS, type Bundle, type Context } from './context.ts';
import { CORES, pagesOf, threadsText } from './limits.ts';
import type { OpenArguments, OpenReport } from './open-process.ts';
import type { Measurement, MissingRow, Row } from './row.ts';
import type { SealArguments, SealReport } from './seal-process.ts';

const GROUP = 'weightgate';
const OPEN_PROCESS = new URL('./open-process.ts', import.meta.url);

/** Without CAP_SYS_ADMIN no private mount can be made: so an ordinary user's agent opens. */
const WITHOUT_MOUNTS = ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin'];

export function ourRows(context: Context): readonly (Row | MissingRow)[] {
  return [
    openRow(context, 'unseal-1', `unseal, ${threadsText(1)}`, { threads: 1, portable: false }),
    openRow(context, 'unseal-all', `unseal, all cores (${CORES})`, { portable: false }),
    openRow(context, 'unseal-portable', 'unseal, all cores, without the compiled part', { portable: true }),
    unprivilegedRow(context),
    sealRow(context, 'seal', 'seal 8 files into memory, all cores', () => shardsOf(context)),
    sealRow(context, 'seal-one', 'seal 1 file into memory, all cores', () => plainOf(context)),
  ];
}

type OpenChoices = Pick<OpenArguments, 'threads' | 'portable'>;

function openRow(
  context: Context,
  name: string,
  label: string,
  choices: OpenChoices,
  prefix: readonly string[] = [],
): Row {
  const run = async (checks: boolean): Promise<Measurement> => {
    const expected = checks ? await context.plainFile() : undefined;
    return openBundle(context, await context.bundle(), { ...choices, expected }, prefix);
  };
  return { name, label, group: GROUP, prepare: async () => [(await context.bundle()).weights], run };
}

function unprivilegedRow(context: Context): Row | MissingRow {
  const name = 'unseal-file';
  const label = 'unseal, all cores, without CAP_SYS_ADMIN';
  const program = findProgram('setpriv');
  if (process.getuid?.() !== 0) {
    return { name, label, group: GROUP, missing: 'the rows above are this one already: not root' };
  }
  if (program === undefined) {
    return { name, label, group: GROUP, missing: 'not installed: apt-get install util-linux' };
  }
  return openRow(context, name, label, { portable: false }, [program, ...WITHOUT_MOUNTS]);
}

/** One run of opening. @param bundle of which the weights are in the page cache, or not */
export async function openBundle(
  context: ProgramOptions & Pick<Context, 'modelKeyFile'>,
  { folder, manifestDigest }: Bundle,
  choices: OpenChoices & { readonly expected?: string | undefined },
  prefix: readonly string[] = [],
): Promise<Measurement> {
  const args = { folder, manifestDigest, modelKeyFile: await context.modelKeyFile(), ...choices };
  const { result, seconds, memoryBytes } = await runModule(OPEN_PROCESS, args, context, prefix);
  const opened = result as OpenReport;
  return {
    rate: opened.bytes / opened.seconds,
    processRate: opened.bytes / seconds,
    memoryBytes: Math.max(opened.besideBytes, memoryBytes),
    beforeBytes: opened.beforeBytes,
    pages: pagesOf(opened.backing),
    note: `${opened.way} way, ${opened.backing.replace('-', ' ')}, page tables ${mebibytes(opened.pageTableBytes)} MiB`,
  };
}

interface SealSource {
  readonly folder: string;
  readonly files: readonly string[];
}

async function shardsOf(context: Context): Promise<SealSource> {
  return { folder: context.shardsFolder, files: await context.shards() };
}

async function plainOf(context: Context): Promise<SealSource> {
  return { folder: await context.plainFolder(), files: [await context.plainFile()] };
}

function sealRow(context: Context, name: string, label: string, source: () => Promise<SealSource>): Row {
  const run = async (): Promise<Measurement> => {
    const folder = await mkdtemp(join(context.fastest, 'sealed-'));
    try {
      const args: SealArguments = {
        source: (await source()).folder,
        target: join(folder, 'bundle'),
        modelKeyFile: await context.modelKeyFile(),
      };
      const { result, seconds, memoryBytes } = await runModule(SEAL_PROCESS, args, context);
      const sealed = result as SealReport;
      return {
        rate: sealed.bytes / sealed.seconds,
        processRate: sealed.bytes / seconds,
        memoryBytes: Math.max(sealed.peakBytes, memoryBytes),
        beforeBytes: sealed.beforeBytes,
        pages: context.workplace.huge === undefined ? 'ordinary' : 'huge',
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  return { name, label, group: GROUP, prepare: async () => (await source()).files, run };
}
