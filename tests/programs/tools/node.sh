# Many files at once, a program, a socket in a directory, a thread.
set -e
cat >try.js <<'END'
const fs = require('fs'), net = require('net'), { execFileSync, spawn } = require('child_process')
const { Worker, isMainThread } = require('worker_threads')
if (!isMainThread) {
    fs.writeFileSync('worker' + process.pid, 'x')
    process.exit(0)
}
(async () => {
    await Promise.all([...Array(50).keys()].map(n => fs.promises.writeFile('n' + n, 'text')))
    console.log((await fs.promises.readdir('.')).filter(name => /^n\d/.test(name)).length)
    console.log(execFileSync('sh', ['-c', 'echo from a shell']).toString().trim())
    const server = net.createServer(c => c.end('answer')).listen('socket')
    await new Promise(done => server.on('listening', done))
    await new Promise(done => net.connect('socket').on('data', d => console.log(d.toString())).on('close', done))
    server.close()
    await new Promise(done => new Worker(__filename).on('exit', done))
    console.log(fs.realpathSync('/proc/self/exe'), process.cwd() === fs.realpathSync('.'))
})()
END
node try.js
