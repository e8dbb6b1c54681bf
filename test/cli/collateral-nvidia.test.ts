import { copyFile, mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { readPemChain } from '../../attestation/nvidia-gpu/evidence.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import type { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';
import { joinCertificates } from '../../src/platform/collateral/certificates.ts';
import { runCommand, type Outcome } from '../support/command-line.ts';
import { startKeyServer } from '../support/key-server.ts';
import { nvidiaHandler } from '../support/nvidia-services.ts';
import { simulatedNvidia } from '../support/simulated-gpu.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const collateral = (...args: readonly string[]): Promise<Outcome> => runCommand('collateral', ...args);

let vendor: SimulatedVendor;
let device: SimulatedNvidiaDevice;
let manifests: ReadonlyMap<string, Uint8Array>;
beforeAll(async () => {
  vendor = await simulatedNvidia();
  device = await makeGpu(vendor.devices, { chip: 'GH100' });
  manifests = vendor.manifestsFor(device);
}, 60_000);

interface Place {
  readonly folder: string;
  readonly dir: string;
  readonly evidence: string;
  readonly roots: readonly string[];
}

/** Evidence in the form of NVIDIA's tools, and the roots of the simulated vendor. */
async function prepare(): Promise<Place> {
  const folder = await temporaryFolder();
  const evidence = join(folder, 'evidence.json');
  const chain = await device.certificateChain();
  const report = await device.attestationReport(new Uint8Array(32));
  const entry = {
    arch: 'HOPPER',
    nonce: '00'.repeat(32),
    evidence: toBase64(report),
    certificate: toBase64(chain),
  };
  await writeFile(evidence, JSON.stringify([entry]));
  const roots = { devices: vendor.devices.root, manifests: vendor.manifests.root };
  for (const [name, { certificate }] of Object.entries(roots))
    await writeFile(join(folder, `${name}.pem`), joinCertificates([certificate]));
  const options = ['--simulated-root', join(folder, 'devices.pem')];
  const more = ['--simulated-manifest-root', join(folder, 'manifests.pem')];
  return { folder, dir: join(folder, 'kept'), evidence, roots: [...options, ...more] };
}

async function servicesIn({
  folder,
}: Place): Promise<{ readonly args: readonly string[]; readonly asked: readonly string[] }> {
  const certificates = readPemChain(await device.certificateChain(), 'chain');
  const server = await startKeyServer(nvidiaHandler(vendor, manifests, certificates));
  const authority = join(folder, 'authority.pem');
  await writeFile(authority, server.options.authorityCertificate);
  const address = (option: string): readonly string[] => [option, server.options.address];
  const args = ['--rim-service', '--ocsp-responder', '--nras'].flatMap(address);
  return { args: [...args, '--nvidia-authority', authority], asked: server.asked };
}

describe('weightgate collateral for NVIDIA', () => {
  it('CL-16: fetches what a GPU needs, lists it with ages, and carries it to a machine without a network', async () => {
    const place = await prepare();
    const { args, asked } = await servicesIn(place);
    const fetched = await collateral(
      'fetch',
      '--dir',
      place.dir,
      ...place.roots,
      ...args,
      '--nvidia-gpu',
      place.evidence,
    );
    expect(fetched).toMatchObject({ exitCode: 0, errors: '' });
    const ids = [...manifests.keys()].map((name) => name.replace('rim:', ''));
    for (const id of ids) expect(fetched.output).toContain(`kept  nvidia/rim/${id}\n`);
    expect(fetched.output.match(/^kept {2}nvidia\/ocsp\//gm)).toHaveLength(6);
    expect(asked).toHaveLength(8);

    const listed = await collateral('list', '--dir', place.dir, ...place.roots, '--json');
    const items = JSON.parse(listed.output) as readonly { path: string; holds: boolean; age: number }[];
    expect(items).toHaveLength(2 + 2 * 6);
    expect(items.filter(({ holds }) => !holds)).toEqual([]);
    expect(items.every(({ age }) => age < 600)).toBe(true);

    const carried = join(place.folder, 'carried');
    const imported = await collateral('import', '--dir', carried, ...place.roots, place.dir);
    expect(imported).toMatchObject({ exitCode: 0, errors: '' });
    expect(await readdir(join(carried, 'nvidia/ocsp'))).toEqual(
      await readdir(join(place.dir, 'nvidia/ocsp')),
    );
    expect((await readdir(join(carried, 'nvidia/rim'))).sort()).toEqual(ids.map((id) => `${id}.xml`).sort());
  }, 120_000);

  it('CL-16: keeps and lists nothing as holding that does not', async () => {
    const place = await prepare();
    const [first] = manifests;
    if (first === undefined) throw new Error('no manifests');
    const [name, manifest] = first;
    const id = name.replace('rim:', '');
    const file = join(place.folder, `${id}.xml`);
    await writeFile(file, manifest);
    const strange = join(place.folder, 'manifest.xml');
    await copyFile(file, strange);
    const wrong = join(place.folder, `${id}.1.xml`);
    await copyFile(file, wrong);
    const imported = await collateral('import', '--dir', place.dir, ...place.roots, strange, file, wrong);
    expect(imported.exitCode).toBe(3);
    expect(imported.output.replaceAll(`${place.folder}/`, '')).toBe(
      `no    manifest.xml [collateral-unknown]\nkept  nvidia/rim/${id}\nno    ${id}.1.xml [collateral-other]\n`,
    );
    const genuine = await collateral('import', '--dir', join(place.folder, 'genuine'), file);
    expect(genuine.exitCode).toBe(1);
    await writeFile(join(place.dir, 'nvidia/rim', `${id}.xml`), 'x');
    const before = Date.now() / 1000 - 7300;
    await utimes(join(place.dir, 'nvidia/rim', `${id}.xml`), before, before);
    await mkdir(join(place.dir, 'nvidia/ocsp'), { recursive: true });
    await writeFile(join(place.dir, 'nvidia/ocsp', `${'0'.repeat(64)}.der`), 'x');
    const listed = await collateral('list', '--dir', place.dir, ...place.roots);
    expect(listed.output.replace(/ [0-9]+ s /, ' AGE ')).toBe(
      `no     nvidia/ocsp/${'0'.repeat(64)}.der  AGE [file-not-found]\nno     nvidia/rim/${id}.xml  2 h [rim-xml]\n`,
    );
    await rm(place.dir, { recursive: true });
  }, 60_000);

  it('CL-5: wrong arguments are refused before anything is asked for', async () => {
    const place = await prepare();
    expect(await collateral('fetch', '--dir', place.dir, '--rim', '../x')).toMatchObject({ exitCode: 2 });
  }, 60_000);
});
