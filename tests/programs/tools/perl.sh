# Files, a child with two pipes, a tree of modules.
set -e
perl -MFile::Find -MFile::Temp=tempfile -MIPC::Open3 -MSocket -e '
    my $count = 0; find(sub { $count++ }, "/usr/share/perl"); print $count > 100, "\n";
    my ($handle, $name) = tempfile(DIR => "."); print $handle "text\n"; close $handle; print -s $name, "\n";
    my $pid = open3(my $in, my $out, undef, "sort", "-r"); print $in "a\nb\n"; close $in; print <$out>;
    waitpid $pid, 0; print $?, "\n"; rename $name, "moved"; unlink "moved"; print -e "moved" ? "there" : "gone", "\n"'
