/** The class of vectors `tlog`: the transparency log, its witnesses and signed statements; manifest of format 1. */

import { z } from 'zod';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { VectorFolder } from './vector-folder.ts';
import type { VectorClass, VectorLine } from './vector-runner.ts';
import { Disagreement, type JudgeRow, type VectorCase } from './vector-tlog-case.ts';
import { NOTE_JUDGES } from './vector-tlog-notes.ts';
import { isCheckpoint, rebuild, type RawGroup } from './vector-tlog-raw.ts';
import { SIGSTORE_JUDGES } from './vector-tlog-sigstore.ts';
import { SIGSUM_JUDGES } from './vector-tlog-sigsum.ts';
import { STATEMENT_JUDGES } from './vector-tlog-statements.ts';
import { TREE_JUDGES } from './vector-tlog-tree.ts';
import { WITNESS_JUDGES } from './vector-tlog-witness.ts';

const fileSchema = z.looseObject({ file: z.string(), sha256: z.string() });
const manifestSchema = z.looseObject({
  format: z.literal(1),
  files: z.array(fileSchema.extend({ cases: z.number() })),
  raw_groups: z.array(z.looseObject({ group: z.string(), files: z.array(fileSchema) })),
});
const casesSchema = z.looseObject({ cases: z.array(z.looseObject({ id: z.string(), expect: z.string() })) });

/** The first row whose members are all there. */
const JUDGES: readonly JudgeRow[] = [
  ...SIGSTORE_JUDGES,
  ...SIGSUM_JUDGES,
  ...WITNESS_JUDGES,
  ...STATEMENT_JUDGES,
  ...NOTE_JUDGES,
  ...TREE_JUDGES,
];

export const tlogVectors: VectorClass = {
  name: 'tlog',
  async *judge(folder) {
    const { files, raw_groups: groups } = manifestSchema.parse(folder.manifest);
    for (const { file, sha256, cases } of files) yield* judgeFile(folder, file, sha256, cases);
    for (const group of groups) yield* judgeGroup(folder, group);
  },
};

async function* judgeFile(
  folder: VectorFolder,
  file: string,
  sha256: string,
  count: number,
): AsyncIterable<VectorLine> {
  const document = casesSchema.parse(JSON.parse(fromUtf8(folder.file(file, sha256), file)));
  if (document.cases.length !== count) throw new Error(`${file} has not ${count} cases`);
  for (const vector of document.cases) yield await judgeCase(folder, file, vector);
}

async function judgeCase(folder: VectorFolder, file: string, vector: VectorCase): Promise<VectorLine> {
  const row = JUDGES.find(({ members }) => members.every((member) => vector[member] !== undefined));
  const subject = `${file}#${vector.id}`;
  if (row === undefined) {
    const got = `no judge for ${Object.keys(vector).join(', ')}`;
    return { subject, expected: vector.expect, got, code: '-', agrees: false };
  }
  const outcome = await outcomeOf(() => row.judge(vector, (path) => folder.file(path)));
  return { subject, expected: vector.expect, ...outcome, agrees: outcome.got === vector.expect };
}

async function* judgeGroup(folder: VectorFolder, { files }: RawGroup): AsyncIterable<VectorLine> {
  const contents = new Map(files.map(({ file, sha256 }) => [file, folder.file(file, sha256)]));
  for (const [path, content] of contents) {
    if (!isCheckpoint(content)) continue;
    const outcome = await outcomeOf(() => {
      rebuild(contents, path);
    });
    yield { subject: path, expected: 'accept', ...outcome, agrees: outcome.got === 'accept' };
  }
}

/** `accept`, or `reject` with the code of the refusal or what differs. */
async function outcomeOf(
  judge: () => void | Promise<void>,
): Promise<{ readonly got: string; readonly code: string }> {
  try {
    await judge();
    return { got: 'accept', code: '-' };
  } catch (error) {
    if (isRefusal(error)) return { got: 'reject', code: error.refusal.code };
    if (error instanceof Disagreement) return { got: 'reject', code: error.message };
    throw error;
  }
}
