/** `weightgate reference tpm` as a person uses it (docs/spec/tpm-reference.md, section 4; CL-1, CL-5). */

import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { concatBytes, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readReferenceValues } from '../../attestation/tpm/documents.ts';
import { UefiSignatureType } from '../../attestation/tpm/event-log/uefi-variable.ts';
import { expectBoot } from '../../attestation/tpm/reference/boot.ts';
import { readPeImage } from '../../attestation/tpm/reference/pe.ts';
import {
  databaseAuthority,
  SECURE_BOOT_VARIABLES,
  shimAuthority,
} from '../../attestation/tpm/reference/secure-boot.ts';
import { readUki } from '../../attestation/tpm/reference/uki.ts';
import { checkReferenceDocument } from '../../src/cli/reference-documents.ts';
import { runCommand, succeed } from '../support/command-line.ts';
import { sha256Bank as bank, signatureListBytes } from '../support/event-log-writer.ts';
import { peImage, stubMark } from '../support/pe-image.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const section = (name: string, data: Uint8Array) => ({ name, data });
const KERNEL = peImage({ sections: [section('.text', toUtf8('a kernel'))] });
const UKI = peImage({
  sections: [stubMark('257.4'), section('.linux', KERNEL), section('.cmdline', toUtf8('ro quiet'))],
});
const LOADER = peImage({ sections: [section('.text', toUtf8('a boot loader'))], signature: toUtf8('PKCS') });
const CERTIFICATE = toUtf8('a certificate of db');
const VARIABLES = {
  SecureBoot: Uint8Array.of(1),
  PK: signatureListBytes(UefiSignatureType.x509, [toUtf8('PK')]),
  KEK: signatureListBytes(UefiSignatureType.x509, [toUtf8('KEK')]),
  db: signatureListBytes(UefiSignatureType.x509, [CERTIFICATE]),
  dbx: new Uint8Array(0),
};

interface Files {
  readonly folder: string;
  readonly images: readonly string[];
}

async function makeFiles(): Promise<Files> {
  const folder = await temporaryFolder();
  await Promise.all([
    writeFile(join(folder, 'uki.efi'), UKI),
    writeFile(join(folder, 'loader.efi'), LOADER),
    writeFile(join(folder, 'cert.der'), CERTIFICATE),
    writeFile(join(folder, 'sbat'), 'sbat,1,2021030218\n'),
    mkdir(join(folder, 'efivars')),
    mkdir(join(folder, 'bare')),
  ]);
  for (const { name, vendor } of SECURE_BOOT_VARIABLES) {
    const attributes = Uint8Array.of(0x27, 0, 0, 0);
    await writeFile(join(folder, 'efivars', `${name}-${vendor}`), concatBytes(attributes, VARIABLES[name]));
    await writeFile(join(folder, 'bare', name), VARIABLES[name]);
  }
  const images = ['--uki', join(folder, 'uki.efi'), '--boot-loader', join(folder, 'loader.efi')];
  return { folder, images };
}

/** The same boot, put together by hand. */
function expectedRegisters(authorities: 'some' | 'none'): ReadonlyMap<number, string> {
  const uki = readPeImage(UKI, 'uki');
  const used = [
    databaseAuthority(VARIABLES.db, CERTIFICATE),
    shimAuthority('SbatLevel', toUtf8('sbat,1,2021030218\n')),
  ];
  const { registers } = expectBoot(
    {
      habits: { announcesBootOption: true, announcesExit: true },
      images: [
        { role: 'boot-loader', image: readPeImage(LOADER, 'loader') },
        { role: 'uki', image: uki },
        { role: 'kernel', image: readPeImage(KERNEL, 'kernel') },
      ],
      uki: readUki(uki, 0, 'uki'),
      secureBoot: { variables: VARIABLES, authorities: authorities === 'some' ? used : [] },
      partitionTable: null,
      loaderConfiguration: null,
      commandLines: [],
      kernelOptions: null,
      initrd: null,
      grubLines: null,
      grubFiles: [],
    },
    bank,
  );
  return new Map([...registers].map(([pcr, value]) => [pcr, toHex(value)]));
}

const extend = (value: string, text: string): string =>
  createHash('sha256')
    .update(Buffer.from(value, 'hex'))
    .update(createHash('sha256').update(text).digest())
    .digest('hex');

describe('reference tpm', () => {
  it('ER-19, ER-20: prints each register with what it is made of, and says which it cannot compute', async () => {
    const { images } = await makeFiles();
    const outcome = await runCommand('reference', 'tpm', ...images, '--phase', 'enter-initrd');
    expect(outcome.errors).toContain('uki is not signed');
    expect(outcome.errors).not.toContain('boot-loader is not signed');
    const lines = outcome.output.trimEnd().split('\n');
    const registers = expectedRegisters('none');
    expect(lines).toContain(`PCR 4  ${registers.get(4)}`);
    expect(lines).toContain(`PCR 11  ${extend(registers.get(11) ?? '', 'enter-initrd')}`);
    expect(lines).toContain(`PCR 12  ${'00'.repeat(32)}`);
    expect(
      lines.filter((line) => line.includes('image of ')).map((line) => line.split('image of ')[1]),
    ).toEqual(['boot-loader', 'uki', 'kernel of the uki']);
    const untold = lines.flatMap((line) => /^PCR ([0-9]+) {2}not computed: ./.exec(line)?.[1] ?? []);
    expect(untold).toEqual(['0', '1', '2', '3', '5', '6', '7', '8', '9']);
  });

  it('ER-21, ER-22: writes a document that names everything that was measured', async () => {
    const { folder, images } = await makeFiles();
    const out = join(folder, 'reference.json');
    const secureBoot = ['--secure-boot-variables', join(folder, 'efivars')];
    const authorities = [
      '--authority',
      `db=${join(folder, 'cert.der')}`,
      '--authority',
      `SbatLevel=${join(folder, 'sbat')}`,
    ];
    const args = [...images, ...secureBoot, ...authorities, '--phase', 'sysinit', '--phase', 'ready'];
    await succeed('reference', 'tpm', ...args, '--name', 'rack-2026', '--out', out);
    const document = JSON.parse(await readFile(out, 'utf8')) as JsonValue & {
      pcrs: Record<string, string[]>;
      boot: { images: string[]; uki: { section: string }[] };
      provenance: { artefacts: { role: string; sha256: string }[]; parameters: object };
    };
    expect(checkReferenceDocument(document)).toBe('tpm');
    expect(readReferenceValues(document).name).toBe('rack-2026');
    const registers = expectedRegisters('some');
    expect(document.pcrs['7']).toEqual([registers.get(7)]);
    const [sysinit, ready] = document.pcrs['11'] ?? [];
    expect(ready).toBe(extend(sysinit ?? '', 'ready'));
    expect(document.boot.images).toHaveLength(3);
    expect(document.boot.uki.map((one) => one.section)).toEqual(['.linux', '.cmdline']);
    expect(document.provenance.artefacts.map(({ role }) => role)).toEqual([
      'boot-loader',
      'uki',
      'SecureBoot',
      'PK',
      'KEK',
      'db',
      'dbx',
      'authority-db',
      'authority-SbatLevel',
    ]);
    expect(document.provenance.artefacts[1]?.sha256).toBe(createHash('sha256').update(UKI).digest('hex'));
    expect(document.provenance.parameters).toMatchObject({ phases: 'sysinit ready', profile: '0' });
    expect(await runCommand('reference', 'tpm', ...args, '--name', 'x', '--out', out)).toMatchObject({
      exitCode: 5,
    });
  });

  it('ER-15: takes variables in their bare form, and refuses an authority that db does not have', async () => {
    const { folder, images } = await makeFiles();
    const args = [...images, '--secure-boot-variables', join(folder, 'bare')];
    const lines = (await succeed('reference', 'tpm', ...args)).split('\n');
    expect(lines).toContain(`PCR 7  ${expectedRegisters('none').get(7)}`);
    const strange = await runCommand(
      'reference',
      'tpm',
      ...args,
      '--authority',
      `db=${join(folder, 'sbat')}`,
    );
    expect(strange).toMatchObject({ exitCode: 3, output: '' });
    expect(strange.errors).toContain('secure-boot-authority');
  });

  it.each<[string, readonly string[], string]>([
    ['no image', ['--disk', '/no/such/file'], '--uki: expected an image'],
    ['a kernel beside a unified kernel image', ['--uki', '/x', '--kernel', '/y'], '--kernel: expected none'],
    ['authorities without variables', ['--uki', '/x', '--authority', 'db=/y'], '--authority: expected with'],
    [
      'an unknown authority',
      ['--uki', '/x', '--secure-boot-variables', '/', '--authority', 'a=/y'],
      'one of db',
    ],
    ['an unknown phase', ['--uki', '/x', '--phase', 'late'], 'boot-phase'],
    ['an unknown bank', ['--uki', '/x', '--bank', 'sha1'], 'Allowed choices are sha256, sha384'],
    ['a document without a name', ['--uki', '/x', '--json'], '--name: expected a name'],
  ])('CL-5: refuses %s before a file is opened', async (_what, args, says) => {
    const outcome = await runCommand('reference', 'tpm', ...args);
    expect(outcome).toMatchObject({ exitCode: 2, output: '' });
    expect(outcome.errors).toContain(says);
  });
});
