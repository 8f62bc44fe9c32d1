/** A node that demands TLS, with a certificate of somebody's own authority: real clients, by the lines that the API prints. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { exec, type Live, loaded, removed, shown } from './live.ts';
import { diskFile, imported, localPool } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('an instance behind TLS', function () {
  this.timeout(120_000);
  let system: System;
  let live: Live;
  let path: string;
  let client: string;

  before(needsPeers('openssl', 'nbdinfo', 'nbdcopy', 'qemu-img'));
  before(async () => {
    system = await startSystem({ nodes: 1 });
    path = await diskFile(system, 6, { seed: 'tls' });
    live = await loaded(system, { block_id: await imported(system, (await localPool(system)).id, path) });
    client = join(system.dir, 'client');
    await mkdir(join(client, 'pki'), { recursive: true });
    await certificate();
    await system.nodes[0]!.restart({ OPENSERVICE_NBD_TLS: 'required', OPENSERVICE_NBD_ADVERTISE: 'localhost' });
    await system.ready();
    live = await shown(system, live.id);
  });
  after(async () => system?.stop());

  /** An authority, and the node's certificate by it in place of the one that the node made. */
  async function certificate(): Promise<void> {
    const tls = join(system.dir, 'node-1/tls');
    const openssl = (...words: string[]) => exec('openssl', words, { cwd: client });
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    await openssl('req', '-x509', ...ec, '-keyout', 'ca.key', '-out', 'pki/ca-cert.pem', '-days', '2', '-subj', '/CN=authority');
    await rm(join(tls, 'cert.pem'));
    await rm(join(tls, 'key.pem'));
    await openssl('req', ...ec, '-keyout', join(tls, 'key.pem'), '-out', 'node.csr', '-subj', '/CN=localhost');
    await writeFile(join(client, 'node.ext'), 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n');
    const signed = ['-CA', 'pki/ca-cert.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'node.ext'];
    await openssl('x509', '-req', '-in', 'node.csr', ...signed, '-out', join(tls, 'cert.pem'));
  }

  it('is read by the lines that the API prints', async () => {
    const { body } = await system.api.ok('GET', `/cdm_instances/${live.id}`);
    const { nbdinfo, qemu_img } = body.cdm_instance.commands[0].tcp;
    expect(body.cdm_instance.disks[0].uri).to.match(/^nbds:\/\/localhost:/);
    const shell = (line: string) => exec('sh', ['-c', line], { cwd: client });
    expect((await shell(nbdinfo)).stdout).to.contain('TLS');
    await shell(qemu_img);
    const made = /\S+\.qcow2|'[^']+\.qcow2'/.exec(qemu_img)![0].replaceAll("'", '');
    await exec('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', join(client, made), path]);
    await exec('nbdcopy', [`${live.disks[0].uri}?tls-certificates=pki`, 'out.img'], { cwd: client });
    expect(await fileDigest(join(client, 'out.img'))).to.equal(await fileDigest(path));
  });

  it('tells nothing in the clear over TCP; the Unix socket stays as it is', async () => {
    const plain = live.disks[0].uri.replace('nbds:', 'nbd:');
    const refused = await exec('nbdinfo', [plain]).then(
      () => null,
      (error: { stderr: string }) => error.stderr,
    );
    expect(refused).to.match(/server replied with error/);
    await exec('nbdcopy', [live.disks[0].unix_uri, join(client, 'unix.img')]);
    expect(await fileDigest(join(client, 'unix.img'))).to.equal(await fileDigest(path));
    await removed(system, live.id);
  });
});
