/**
 * What an engineer at a hardware partner has after the first hour: a copy of attestation/example under another name, in
 * a folder that looks like the project, with nothing else changed.
 */

import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { PROJECT } from './command-line.ts';

/** One place of the copy that is made wrong. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const TEMPLATE = join(PROJECT, 'attestation/example');
const FIXTURE = 'test/attestation/contract/example-fixture.ts';

function renamed(text: string): string {
  return text.replaceAll('example', 'partner').replaceAll('Example', 'Partner').replaceAll('WGEX', 'WGPA');
}

/** @returns the folder of the class under `root`; its fixture lies where the convention says */
export async function copyTemplate(root: string, edits: readonly Edit[] = []): Promise<string> {
  const folder = join(root, 'attestation/partner');
  await cp(TEMPLATE, folder, { recursive: true });
  for (const name of await readdir(folder, { recursive: true })) {
    if (name.endsWith('.ts')) await rewrite(join(folder, name), renamed);
  }
  for (const { file, from, to } of edits) {
    await rewrite(join(folder, file), (text) => {
      if (text.split(from).length !== 2) throw new Error(`${file} has not one place with: ${from}`);
      return text.replace(from, () => to);
    });
  }
  const fixture = join(root, renamed(FIXTURE));
  await mkdir(dirname(fixture), { recursive: true });
  await writeFile(fixture, renamed(await readFile(join(PROJECT, FIXTURE), 'utf8')));
  for (const shared of ['attestation/core', 'attestation/conformance', 'test/support', 'node_modules']) {
    await symlink(join(PROJECT, shared), join(root, shared));
  }
  return folder;
}

/** Takes the fixture of a copy away. */
export async function removeFixture(folder: string): Promise<void> {
  await rm(join(folder, '../..', renamed(FIXTURE)));
}

async function rewrite(file: string, change: (text: string) => string): Promise<void> {
  await writeFile(file, change(await readFile(file, 'utf8')));
}
