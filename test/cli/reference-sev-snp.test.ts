/** `weightgate reference sev-snp` and `reference id-block`: LM-15 to LM-18 on the command line, CL-1 and CL-5. */

import { createHash, generateKeyPairSync } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import packageDocument from '../../package.json' with { type: 'json' };
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readReferenceValues } from '../../attestation/sev-snp/documents.ts';
import { checkReferenceDocument } from '../../src/cli/reference-documents.ts';
import { deriveLaunch, type LaunchOptions } from '../../src/cli/reference-launch.ts';
import { runCommand, succeed } from '../support/command-line.ts';
import { GENERAL_SECTIONS, ovmfImage } from '../support/ovmf-image.ts';
import { refusalCode } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

/** What sev-snp-measure 0.0.13 says of the same files. */
const MEASUREMENT =
  'b7c4d3c25e70c3b131f9082cf654dfb8d200a1e81391e2720070d414a1a66660742ff5832d6018caa98cfd733996ef99';
const EC2_MEASUREMENT =
  '2305ffed2c87ab134228d47a70665015e587560cf9617899eddd7197a9351c6af2d9b01f6e16cf1fdcfe63ff4d0a1281';
const COMMAND_LINE = 'console=ttyS0 loglevel=7';

const sha256 = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex');

interface Files {
  readonly folder: string;
  readonly ovmf: readonly string[];
  readonly boot: readonly string[];
}

async function makeFiles(): Promise<Files> {
  const folder = await temporaryFolder();
  await Promise.all([
    writeFile(join(folder, 'OVMF.fd'), ovmfImage()),
    writeFile(join(folder, 'general.fd'), ovmfImage({ sections: GENERAL_SECTIONS })),
    writeFile(join(folder, 'vmlinuz'), 'a kernel'),
    writeFile(join(folder, 'initrd.img'), 'an initrd'),
  ]);
  const ovmf = ['reference', 'sev-snp', '--ovmf', join(folder, 'OVMF.fd')];
  const boot = ['--kernel', join(folder, 'vmlinuz'), '--initrd', join(folder, 'initrd.img')];
  return { folder, ovmf, boot: [...boot, '--append', COMMAND_LINE] };
}

describe('reference sev-snp', () => {
  it('prints the measurement that another tool prints', async () => {
    const { ovmf, boot } = await makeFiles();
    const output = await succeed(...ovmf, ...boot, '--vcpus', '1', '--vcpu-type', 'EPYC-v4');
    expect(output).toBe(MEASUREMENT);
    const signature = ['--vcpu-signature', '0x800F12', '--guest-features', '0x1'];
    expect(await succeed(...ovmf, ...boot, '--vcpus', '1', ...signature)).toBe(MEASUREMENT);
  });

  it('says when no kernel is measured', async () => {
    const { folder } = await makeFiles();
    const image = join(folder, 'general.fd');
    const args = ['--ovmf', image, '--vcpus', '4', '--hypervisor', 'ec2'];
    expect(await runCommand('reference', 'sev-snp', ...args)).toMatchObject({
      exitCode: 0,
      output: `${EC2_MEASUREMENT}\n`,
      errors: expect.stringContaining('and no kernel') as string,
    });
  });

  it('LM-17, LM-18: writes a document that names everything that was measured', async () => {
    const { folder, ovmf, boot } = await makeFiles();
    const out = join(folder, 'reference.json');
    const launch = [...ovmf, ...boot, '--vcpus', '1', '--vcpu-type', 'EPYC-v4', '--name', 'rack-2026'];
    expect(await succeed(...launch, '--out', out)).toBe(MEASUREMENT);
    const document = JSON.parse(await readFile(out, 'utf8')) as { provenance: { madeAt: number } };
    expect(document).toEqual({
      version: 1,
      class: 'sev-snp',
      kind: 'launch',
      name: 'rack-2026',
      measurement: MEASUREMENT,
      provenance: {
        method: 'derived',
        tool: 'weightgate',
        toolVersion: packageDocument.version,
        artefacts: [
          { role: 'firmware', sha256: sha256(ovmfImage()) },
          { role: 'kernel', sha256: sha256('a kernel') },
          { role: 'initrd', sha256: sha256('an initrd') },
          { role: 'cmdline', sha256: sha256(`${COMMAND_LINE}\0`) },
        ],
        parameters: {
          hypervisor: 'qemu',
          vcpus: '1',
          vcpuType: 'EPYC-v4',
          vcpuSignature: '00800f12',
          guestFeatures: '0000000000000001',
        },
        madeAt: document.provenance.madeAt,
      },
    });
    expect(Math.abs(document.provenance.madeAt - Date.now() / 1000)).toBeLessThan(600);
    const printed = JSON.parse(await succeed(...launch, '--json')) as JsonValue;
    expect(readReferenceValues(printed).name).toBe('rack-2026');
    expect(await runCommand(...launch, '--out', out)).toMatchObject({ exitCode: 5, output: '' });
  });

  const qemu = ['--vcpus', '1', '--vcpu-type', 'EPYC-v4'];
  it.each<[string, readonly string[], string]>([
    ['no vCPU model', ['--vcpus', '1'], '--vcpu-type: expected the vCPU model'],
    ['another hypervisor', [...qemu, '--hypervisor', 'xen'], 'Allowed choices are qemu, ec2, gce'],
    ['features that are no number', [...qemu, '--guest-features', 'snp'], 'hexadecimal number'],
    ['a document without a name', [...qemu, '--json'], '--name: expected a name'],
  ])('CL-5: %s is refused before a file is opened', async (_what, args, says) => {
    const outcome = await runCommand('reference', 'sev-snp', '--ovmf', '/no/such/file', ...args);
    expect(outcome).toMatchObject({ exitCode: 2, output: '' });
    expect(outcome.errors).toContain(says);
  });

  const options: LaunchOptions = { ovmf: '/no/such/file', hypervisor: 'qemu', vcpus: 1, guestFeatures: 1n };
  const epyc = { ...options, vcpuType: 'EPYC-v4' };
  it.each<[string, LaunchOptions, string, string]>([
    ['an initrd alone', { ...epyc, initrd: '/x' }, 'argument-invalid', '--kernel'],
    ['a command line alone', { ...epyc, append: 'quiet' }, 'argument-invalid', '--kernel'],
    ['a model twice', { ...epyc, vcpuSignature: 0x80_0f12 }, 'argument-invalid', '--vcpu-signature'],
    ['a model on EC2', { ...epyc, hypervisor: 'ec2' }, 'argument-invalid', '--vcpu-type'],
    ['a kernel on GCE', { ...options, hypervisor: 'gce', kernel: '/x' }, 'argument-invalid', '--kernel'],
    ['another model', { ...options, vcpuType: 'Pentium' }, 'launch-vcpu-model', 'vcpuType'],
    ['too many vCPUs', { ...epyc, vcpus: 4097 }, 'launch-parameter', 'vcpus'],
    ['features without SNPActive', { ...epyc, guestFeatures: 0x20n }, 'launch-parameter', 'guestFeatures'],
    ['a signature of 40 bits', { ...options, vcpuSignature: 2 ** 40 }, 'launch-parameter', 'vcpuSignature'],
    ['two lines', { ...epyc, kernel: '/x', append: 'a\nb' }, 'launch-command-line', 'commandLine'],
  ])('CL-5: %s is refused before a file is opened', async (_what, given, code, field) => {
    await expect(deriveLaunch(given)).rejects.toMatchObject({ refusal: { code, field } });
  });

  it('CL-1, CL-2: files that are missing, broken or do not fit are named, and nothing is written', async () => {
    const { folder, boot } = await makeFiles();
    const broken = join(folder, 'broken.fd');
    await writeFile(broken, new Uint8Array(8192));
    const out = ['--name', 'a', '--out', join(folder, 'out.json')];
    const rows = [
      [['--ovmf', '/no/such/file'], 5, '/no/such/file', '[file-not-found]'],
      [['--ovmf', join(folder, 'vmlinuz')], 3, '/vmlinuz', '[ovmf-size]'],
      [['--ovmf', broken], 3, '/broken.fd.table', '[ovmf-table]'],
      [['--ovmf', join(folder, 'general.fd'), ...boot], 2, 'kernel: expected', '[launch-kernel-unmeasured]'],
    ] as const;
    for (const [args, exitCode, ...says] of rows) {
      const outcome = await runCommand('reference', 'sev-snp', ...qemu, ...out, ...args);
      expect(outcome).toMatchObject({ exitCode, output: '' });
      for (const text of says) expect(outcome.errors).toContain(text);
    }
    expect(await readdir(folder)).not.toContain('out.json');
  });
});

describe('reference publish', () => {
  it('reads a document as its own class says, and none of an unknown class', () => {
    const minimal = { version: 1, kind: 'launch', name: 'a', measurement: MEASUREMENT };
    const provenance = { method: 'recorded', tool: 'x', toolVersion: '1', artefacts: [], parameters: {} };
    const launch = { ...minimal, class: 'sev-snp', provenance: { ...provenance, madeAt: 0 } };
    expect(checkReferenceDocument(launch)).toBe('sev-snp');
    expect(refusalCode(() => checkReferenceDocument({ ...launch, class: 'tpm' }))).toBe('shape-member');
    expect(refusalCode(() => checkReferenceDocument({ ...launch, class: 'other' }))).toBe('shape-member');
    expect(refusalCode(() => checkReferenceDocument({ ...launch, name: 7 }))).toBe('shape-value');
    expect(refusalCode(() => checkReferenceDocument([]))).toBe('shape-member');
  });
});

describe('reference id-block', () => {
  const id = ['--family-id', '0f'.repeat(16), '--image-id', 'a1'.repeat(16)];

  it('LM-15: makes a block and shows it', async () => {
    const file = join(await temporaryFolder(), 'block');
    const make = ['reference', 'id-block', 'make', '--measurement', MEASUREMENT, '--guest-svn', '7'];
    await succeed(...make, '--policy', '0x30000', ...id, '--out', file);
    expect((await readFile(file)).toString('hex')).toBe(
      `${MEASUREMENT}${'0f'.repeat(16)}${'a1'.repeat(16)}01000000070000000000030000000000`,
    );
    expect(await succeed('reference', 'id-block', 'show', file)).toBe(
      [
        `measurement ${MEASUREMENT}`,
        `family ID ${'0f'.repeat(16)}`,
        `image ID ${'a1'.repeat(16)}`,
        'guest SVN 7',
        'policy 0000000000030000',
      ].join('\n'),
    );
  });

  it.each<[string, readonly string[]]>([
    ['a policy without bit 17', ['--policy', '10000']],
    ['a policy with debugging', ['--policy', 'b0000']],
    ['a guest SVN of 33 bits', ['--policy', '30000', '--guest-svn', '4294967296']],
  ])('CL-5: refuses %s', async (_what, args) => {
    const make = ['reference', 'id-block', 'make', '--measurement', MEASUREMENT, '--guest-svn', '0'];
    const outcome = await runCommand(...make, '--out', '/no/such/folder/block', ...args);
    expect(outcome).toMatchObject({ exitCode: 2, output: '' });
  });

  it('LM-16: prints the digest of a public key, and refuses what is none', async () => {
    const folder = await temporaryFolder();
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    const key = join(folder, 'id.pem');
    await writeFile(key, publicKey.export({ type: 'spki', format: 'pem' }));
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
    const coordinate = (text: string): Buffer => {
      const field = Buffer.alloc(72);
      field.set(Buffer.from(text, 'base64url').reverse());
      return field;
    };
    const form = Buffer.concat([Buffer.of(2, 0, 0, 0), coordinate(x), coordinate(y), Buffer.alloc(880)]);
    expect(await succeed('reference', 'id-block', 'key', key)).toBe(
      createHash('sha384').update(form).digest('hex'),
    );
    const secret = join(folder, 'secret.pem');
    await writeFile(secret, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const outcome = await runCommand('reference', 'id-block', 'key', secret);
    expect(outcome).toMatchObject({ exitCode: 3, errors: expect.stringContaining('[pem-') as string });
  });
});
