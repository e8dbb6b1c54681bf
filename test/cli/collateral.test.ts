import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { readImportable } from '../../src/cli/collateral-import.ts';
import { joinCertificates } from '../../src/platform/collateral/certificates.ts';
import { kdsPath } from '../../src/platform/collateral/amd-kds.ts';
import { collateralName } from '../../src/platform/collateral/source.ts';
import { amdChain, amdFile, amdVectorsMissing, itemOfVcek } from '../support/amd-collateral.ts';
import { runCommand } from '../support/command-line.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { respond, startKeyServer } from '../support/key-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { vectorFolder } from '../support/vectors.ts';

const place = (path: string): string => join(vectorFolder('snp'), path);
const collateral = (...args: readonly string[]): ReturnType<typeof runCommand> =>
  runCommand('collateral', ...args);

describe.skipIf(amdVectorsMissing !== undefined)(`weightgate collateral ${amdVectorsMissing ?? ''}`, () => {
  const vcek = 'milan-v3-vcek/vcek.der';

  it('CL-16: imports files in any order, and lists what holds', async () => {
    const folder = await temporaryFolder();
    const dir = join(folder, 'collateral');
    const chain = join(folder, 'chain.pem');
    await writeFile(chain, amdChain('Milan'));
    const imported = await collateral('import', '--dir', dir, place(vcek), chain);
    expect(imported).toMatchObject({ exitCode: 0, errors: '' });
    const name = collateralName(itemOfVcek(amdFile(vcek)));
    expect(imported.output).toBe(`kept  sev-snp/Milan/vcek-chain\nkept  ${name}\n`);
    await writeFile(join(dir, `${name}.der`), amdFile('milan-v3-vcek-measurement/vcek.der'));
    const listed = await collateral('list', '--dir', dir, '--json');
    const age = expect.any(Number) as number;
    expect(JSON.parse(listed.output)).toEqual([
      { path: 'sev-snp/Milan/vcek-chain.pem', holds: true, code: null, age },
      { path: `${name}.der`, holds: false, code: 'collateral-other', age },
    ]);
    const day = 86_400;
    const before = Date.now() / 1000 - 3 * day - 60;
    await utimes(join(dir, 'sev-snp/Milan/vcek-chain.pem'), before, before);
    const again = await collateral('list', '--dir', dir);
    const [first, second] = again.output.split('\n');
    expect(first).toBe('holds  sev-snp/Milan/vcek-chain.pem  3 d');
    expect(second?.replace(/ [0-9]+ (?:s|min) /, ' AGE ')).toBe(`no     ${name}.der  AGE [collateral-other]`);
  });

  it('CL-16: keeps nothing that is not genuine, in force or known', async () => {
    const folder = await temporaryFolder();
    const chain = join(folder, 'chain.pem');
    await writeFile(chain, amdChain('Genoa'));
    const stale = await collateral(
      'import',
      '--dir',
      join(folder, 'kept'),
      place('crl/genoa-crl-2022.der'),
      chain,
    );
    expect(stale).toMatchObject({ exitCode: 1, output: 'kept  sev-snp/Genoa/vcek-chain\n' });
    expect(stale.errors).toContain('[crl-stale]');
    const codeOf = (path: string): Promise<string> => refusalCodeAsync(() => readImportable(path));
    expect(await codeOf(place('milan-v3-vlek-vmpl1/vlek.der'))).toBe('collateral-unknown');
    expect(await codeOf(place('certs/milan-ark.der'))).toBe('snp-certificate-subject');
    expect(await codeOf(place('milan-v3-vcek/report.bin'))).toMatch(/^der-/);
  });

  it('CL-16: tells from the content what a file holds', async () => {
    const folder = await temporaryFolder();
    const reversed = join(folder, 'reversed.pem');
    await writeFile(
      reversed,
      joinCertificates(['ark', 'asvk'].map((name) => amdFile(`certs/turin-${name}.der`))),
    );
    expect(await readImportable(reversed)).toEqual([
      { item: { kind: 'chain', line: 'Turin', signer: 'vlek' }, bytes: amdChain('Turin', 'asvk') },
    ]);
    const lists = await readImportable(place('crl/milan-crl-2022.der'));
    expect(lists.map(({ item }) => item)).toEqual([
      { kind: 'crl', line: 'Milan', signer: 'vcek' },
      { kind: 'crl', line: 'Milan', signer: 'vlek' },
    ]);
  });

  it('CL-16: fetches what a report needs, once', async () => {
    const folder = await temporaryFolder();
    const server = await startKeyServer((incoming, outgoing) => {
      const isChain = incoming.url?.endsWith('cert_chain') === true;
      if (incoming.url?.endsWith('/crl') === true) respond(outgoing, undefined);
      else respond(outgoing, isChain ? amdChain('Milan') : amdFile(vcek));
    });
    const authority = join(folder, 'authority.pem');
    await writeFile(authority, server.options.authorityCertificate);
    const dir = join(folder, 'collateral');
    const address = ['--kds', server.options.address, '--kds-authority', authority];
    const args = ['fetch', '--dir', dir, '--report', place('milan-v3-vcek/report.bin'), ...address];
    const first = await collateral(...args);
    expect(first).toMatchObject({ exitCode: 4 });
    expect(first.errors).toContain('[collateral-absent]');
    expect(first.output).toContain(`kept  ${collateralName(itemOfVcek(amdFile(vcek)))}`);
    expect(server.asked).toEqual([
      kdsPath(itemOfVcek(amdFile(vcek))),
      '/vcek/v1/Milan/cert_chain',
      '/vcek/v1/Milan/crl',
    ]);
    await collateral(...args);
    expect(server.asked.slice(3)).toEqual(['/vcek/v1/Milan/crl']);
  });

  it('CL-5: wrong arguments are refused before anything is asked for', async () => {
    const dir = join(await temporaryFolder(), 'collateral');
    expect(await collateral('fetch', '--dir', dir)).toMatchObject({ exitCode: 2 });
    expect(await collateral('fetch', '--dir', dir, '--line', 'Rome')).toMatchObject({ exitCode: 2 });
  });
});
