"""What `fedward demo` needs: invented hospitals on one machine."""
