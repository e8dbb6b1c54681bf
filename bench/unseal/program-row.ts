/** Rows for programs that read one file and write another. */

import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { findProgram, runProgram } from '../support/program.ts';
import type { Context } from './context.ts';
import type { Group, Measurement, MissingRow, Pages, Row } from './row.ts';
import { requireSameFiles } from './same.ts';

export interface ProgramRow {
  readonly name: string;
  readonly label: string;
  readonly group: Group;
  /** Its name, or its path where it was made here. */
  readonly program: string;
  /** Of Debian, with the program. */
  readonly package: string;
  readonly pages: Pages;
  /** Where it writes; undefined where this user has no such file system. */
  readonly folder: string | undefined;
  /** What it reads. */
  readonly source: () => Promise<string>;
  /** Its arguments. */
  readonly args: (source: string, target: string) => Promise<readonly string[]>;
  readonly note?: string;
}

export function programRow(context: Context, row: ProgramRow): Row | MissingRow {
  const { name, label, group, folder, pages, note } = row;
  const program = row.program.startsWith('/') ? row.program : findProgram(row.program);
  if (program === undefined) {
    return { name, label, group, missing: `not installed: apt-get install ${row.package}` };
  }
  if (folder === undefined) {
    return { name, label, group, missing: 'no tmpfs of such pages: mounting one needs root' };
  }
  const run = async (checks: boolean): Promise<Measurement> => {
    const target = join(folder, `${name}.out`);
    try {
      const args = await row.args(await row.source(), target);
      const { seconds, memoryBytes } = await runProgram(program, args, context);
      if (checks) requireSameFiles(await context.plainFile(), target);
      const rate = context.bytes / seconds;
      return { rate, processRate: rate, memoryBytes, pages, ...(note === undefined ? {} : { note }) };
    } finally {
      await rm(target, { force: true });
    }
  };
  return { name, label, group, prepare: async () => [await row.source()], run };
}
