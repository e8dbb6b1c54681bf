/** The transparency vectors, and folders that were derived from them. */

import { describe, expect, it } from 'vitest';

import { sha256 } from '@noble/hashes/sha2.js';

import { fromUtf8, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { openVectorFolder, type VectorFolder } from '../support/vector-folder.ts';
import { runVectors, type VectorLine } from '../support/vector-runner.ts';
import { tlogVectors } from '../support/vector-tlog.ts';
import { vectorFolder, vectorsMissing } from '../support/vectors.ts';

const missing = vectorsMissing('tlog');

interface Case {
  id: string;
  expect: string;
  [member: string]: unknown;
}

interface Manifest {
  readonly files: readonly { readonly file: string; readonly sha256: string; readonly cases: number }[];
  readonly raw_groups: readonly { readonly files: readonly { readonly file: string }[] }[];
}

/** The shared folder with the cases of its files changed, under other names of files and of cases. */
function derived(change: (cases: Case[], i: number) => void): VectorFolder {
  const folder = openVectorFolder(vectorFolder('tlog'));
  const manifest = folder.manifest as Manifest;
  const contents = new Map<string, Uint8Array>();
  const files = manifest.files.map(({ file, sha256: digest, ...rest }, i) => {
    const document = JSON.parse(fromUtf8(folder.file(file, digest), file)) as { cases: Case[] };
    document.cases.forEach((one, j) => (one.id = `case-${j}`));
    change(document.cases, i);
    const content = toUtf8(JSON.stringify(document));
    contents.set(`${i}.json`, content);
    return { ...rest, file: `${i}.json`, sha256: toHex(sha256(content)) };
  });
  return {
    manifest: { ...manifest, files },
    file: (path, digest) => contents.get(path) ?? folder.file(path, digest),
  };
}

async function run(folder: VectorFolder): Promise<readonly VectorLine[]> {
  const lines: VectorLine[] = [];
  for await (const line of tlogVectors.judge(folder)) lines.push(line);
  return lines;
}

describe.skipIf(missing !== undefined)(`the transparency vectors ${missing ?? ''}`, () => {
  it('TL-1 to TL-15, WT-1 to WT-10: every case has its stated verdict, under any name', async () => {
    const lines = await run(derived(() => undefined));
    expect(lines.filter(({ agrees }) => !agrees)).toEqual([]);
    expect(lines.length).toBeGreaterThan(966);
  });

  it('a planted verdict is found in every file', async () => {
    const folder = derived((cases) => {
      const [first] = cases;
      if (first !== undefined) first.expect = first.expect === 'accept' ? 'reject' : 'accept';
    });
    const wrong = (await run(folder)).filter(({ agrees }) => !agrees);
    const { files } = folder.manifest as Manifest;
    expect(wrong.map(({ subject }) => subject)).toEqual(files.map(({ file }) => `${file}#case-0`));
  });

  it('the runner stops at a case of members that no judge knows, and at a file of another digest', async () => {
    const unknown = derived((cases, i) => {
      if (i === 0 && cases[0] !== undefined) cases[0] = { id: 'new', expect: 'accept', novelty: 1 };
    });
    const { disagreement } = await runVectors(tlogVectors, unknown, () => undefined);
    expect(disagreement).toMatchObject({ subject: '0.json#new', got: 'no judge for id, expect, novelty' });
    const folder = openVectorFolder(vectorFolder('tlog'));
    const text = JSON.stringify(folder.manifest).replace(/"sha256":"[0-9a-f]{4}/, '"sha256":"0000');
    await expect(run({ ...folder, manifest: JSON.parse(text) as unknown })).rejects.toThrow('SHA-256');
  });

  it('TL-25: a log whose tile was altered is not rebuilt', async () => {
    const folder = openVectorFolder(vectorFolder('tlog'));
    const flipped = (content: Uint8Array): Uint8Array =>
      content.map((byte, i) => (i === 7 ? byte ^ 1 : byte));
    const altered: VectorFolder = {
      ...folder,
      file: (path, digest) => {
        const content = folder.file(path, digest);
        return /\/tile\/0\//.test(path) ? flipped(content) : content;
      },
    };
    const raw = new Set(
      (folder.manifest as Manifest).raw_groups.flatMap(({ files }) => files.map(({ file }) => file)),
    );
    const lines = (await run(altered)).filter(({ subject }) => raw.has(subject));
    expect(lines.length).toBeGreaterThan(15);
    // A checkpoint of the empty tree needs no tile.
    expect(lines.filter(({ agrees }) => agrees).length).toBeLessThan(2);
  });
});
